//! The binary form of POSIX access control lists, as `system.posix_acl_access` and
//! `system.posix_acl_default` hold it.
//!
//! Four bytes of version, then eight bytes an entry: tag, permissions, number; all little-endian
//! on every machine. Source: `include/uapi/linux/posix_acl_xattr.h` of the Linux kernel.

use std::sync::Arc;

use crate::{Acl, AclEntry, AclWho};

/// Name of the extended attribute that holds the access ACL.
pub const ACL_ACCESS_XATTR: &str = "system.posix_acl_access";

/// Name of the extended attribute that holds a directory's default ACL.
pub const ACL_DEFAULT_XATTR: &str = "system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`, the only one there is.
const VERSION: u32 = 2;

/// Bytes of version before the first entry.
const HEADER_SIZE: usize = 4;

/// Bytes of one entry.
const ENTRY_SIZE: usize = 8;

/// Most bytes that Linux keeps in one extended attribute (`XATTR_SIZE_MAX`).
const XATTR_SIZE_MAX: usize = 65_536;

/// The number of an entry that is about nobody by number (`ACL_UNDEFINED_ID`).
const NO_NUMBER: u32 = u32::MAX;

/// Tags of the entries, in the order that the kernel wants them in.
mod tag {
    pub(super) const USER_OWNER: u16 = 0x01;
    pub(super) const USER: u16 = 0x02;
    pub(super) const GROUP_OWNER: u16 = 0x04;
    pub(super) const GROUP: u16 = 0x08;
    pub(super) const MASK: u16 = 0x10;
    pub(super) const OTHER: u16 = 0x20;
}

/// Why bytes are not an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAcl {
    /// Not four bytes and a whole number of entries, or more than Linux can keep.
    #[error("an access control list of {bytes} bytes")]
    Size {
        /// How many bytes there were.
        bytes: usize,
    },
    /// A version that is not known.
    #[error("access control list version {version}")]
    Version {
        /// Which version.
        version: u32,
    },
    /// An entry about somebody that is not known.
    #[error("access control list tag {tag:#x}")]
    Tag {
        /// Which tag.
        tag: u16,
    },
    /// Permissions beyond read, write and execute.
    #[error("access control list permissions {permissions:#o}")]
    Permissions {
        /// Which permissions.
        permissions: u16,
    },
}

/// Gives the names of users and groups. `()` knows none.
pub trait AccountNames {
    /// The name of a user, when this machine knows one.
    fn user_name(&mut self, uid: u32) -> Option<Arc<str>>;
    /// The name of a group, when this machine knows one.
    fn group_name(&mut self, gid: u32) -> Option<Arc<str>>;
}

/// Gives the numbers of users and groups. `()` knows none.
pub trait AccountNumbers {
    /// The number of a user, when this machine knows the name.
    fn user_number(&mut self, name: &str) -> Option<u32>;
    /// The number of a group, when this machine knows the name.
    fn group_number(&mut self, name: &str) -> Option<u32>;
}

impl AccountNames for () {
    fn user_name(&mut self, _uid: u32) -> Option<Arc<str>> {
        None
    }

    fn group_name(&mut self, _gid: u32) -> Option<Arc<str>> {
        None
    }
}

impl AccountNumbers for () {
    fn user_number(&mut self, _name: &str) -> Option<u32> {
        None
    }

    fn group_number(&mut self, _name: &str) -> Option<u32> {
        None
    }
}

impl Acl {
    /// Reads the value of [`ACL_ACCESS_XATTR`] or [`ACL_DEFAULT_XATTR`].
    ///
    /// # Errors
    ///
    /// [`BadAcl`] says what the bytes are not.
    pub fn decode(raw: &[u8], names: &mut impl AccountNames) -> Result<Self, BadAcl> {
        let size = BadAcl::Size { bytes: raw.len() };
        if raw.len() > XATTR_SIZE_MAX {
            return Err(size);
        }
        let (header, body) = raw.split_first_chunk::<HEADER_SIZE>().ok_or(size)?;
        let version = u32::from_le_bytes(*header);
        if version != VERSION {
            return Err(BadAcl::Version { version });
        }
        let (chunks, rest) = body.as_chunks::<ENTRY_SIZE>();
        if !rest.is_empty() {
            return Err(size);
        }
        let entries = chunks
            .iter()
            .map(|chunk| decode_entry(*chunk, names))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Writes the value of [`ACL_ACCESS_XATTR`] or [`ACL_DEFAULT_XATTR`].
    ///
    /// Whoever is known to `numbers` by name gets that number, everybody else the recorded one.
    /// The entries leave in the kernel's order, in which alone it accepts them.
    #[must_use]
    pub fn encode(&self, numbers: &mut impl AccountNumbers) -> Vec<u8> {
        let mut entries: Vec<(u16, u32, u8)> = self
            .entries
            .iter()
            .map(|entry| {
                let (tag, number) = tag_and_number(&entry.who, numbers);
                (tag, number, entry.permissions)
            })
            .collect();
        entries.sort_by_key(|&(tag, number, _)| (tag, number));
        let mut raw = Vec::with_capacity(HEADER_SIZE + ENTRY_SIZE * entries.len());
        raw.extend_from_slice(&VERSION.to_le_bytes());
        for (tag, number, permissions) in entries {
            raw.extend_from_slice(&tag.to_le_bytes());
            raw.extend_from_slice(&u16::from(permissions & 0o7).to_le_bytes());
            raw.extend_from_slice(&number.to_le_bytes());
        }
        raw
    }
}

fn decode_entry(
    bytes: [u8; ENTRY_SIZE],
    names: &mut impl AccountNames,
) -> Result<AclEntry, BadAcl> {
    let [t0, t1, p0, p1, n0, n1, n2, n3] = bytes;
    let permissions = u16::from_le_bytes([p0, p1]);
    let number = u32::from_le_bytes([n0, n1, n2, n3]);
    let who = match u16::from_le_bytes([t0, t1]) {
        tag::USER_OWNER => AclWho::UserOwner,
        tag::USER => AclWho::User(number, names.user_name(number)),
        tag::GROUP_OWNER => AclWho::GroupOwner,
        tag::GROUP => AclWho::Group(number, names.group_name(number)),
        tag::MASK => AclWho::Mask,
        tag::OTHER => AclWho::Other,
        tag => return Err(BadAcl::Tag { tag }),
    };
    match u8::try_from(permissions) {
        Ok(permissions @ 0..=7) => Ok(AclEntry { who, permissions }),
        _ => Err(BadAcl::Permissions { permissions }),
    }
}

fn tag_and_number(who: &AclWho, numbers: &mut impl AccountNumbers) -> (u16, u32) {
    match who {
        AclWho::UserOwner => (tag::USER_OWNER, NO_NUMBER),
        AclWho::User(uid, name) => {
            let here = name.as_deref().and_then(|name| numbers.user_number(name));
            (tag::USER, here.unwrap_or(*uid))
        }
        AclWho::GroupOwner => (tag::GROUP_OWNER, NO_NUMBER),
        AclWho::Group(gid, name) => {
            let here = name.as_deref().and_then(|name| numbers.group_number(name));
            (tag::GROUP, here.unwrap_or(*gid))
        }
        AclWho::Mask => (tag::MASK, NO_NUMBER),
        AclWho::Other => (tag::OTHER, NO_NUMBER),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `u::rw-,u:1000:r--,g::r--,g:4:r-x,m::r-x,o::---` as the kernel hands it out.
    const RAW: &[u8] = b"\x02\0\0\0\
        \x01\0\x06\0\xff\xff\xff\xff\
        \x02\0\x04\0\xe8\x03\0\0\
        \x04\0\x04\0\xff\xff\xff\xff\
        \x08\0\x05\0\x04\0\0\0\
        \x10\0\x05\0\xff\xff\xff\xff\
        \x20\0\0\0\xff\xff\xff\xff";

    /// Knows one user and one group.
    struct Adam;

    impl AccountNames for Adam {
        fn user_name(&mut self, uid: u32) -> Option<Arc<str>> {
            (uid == 1000).then(|| "adam".into())
        }

        fn group_name(&mut self, gid: u32) -> Option<Arc<str>> {
            (gid == 4).then(|| "adm".into())
        }
    }

    impl AccountNumbers for Adam {
        fn user_number(&mut self, name: &str) -> Option<u32> {
            (name == "adam").then_some(1001)
        }

        fn group_number(&mut self, name: &str) -> Option<u32> {
            (name == "adm").then_some(5)
        }
    }

    #[test]
    fn what_the_kernel_hands_out_is_read_with_names_and_written_back() {
        let acl = Acl::decode(RAW, &mut Adam).unwrap();
        assert_eq!(acl.entries.len(), 6);
        assert_eq!(acl.entries[1].who, AclWho::User(1000, Some("adam".into())));
        assert_eq!(acl.entries[3].who, AclWho::Group(4, Some("adm".into())));
        assert_eq!(acl.entries[3].permissions, 5);
        assert_eq!(acl.encode(&mut ()), RAW);
    }

    #[test]
    fn on_another_machine_a_name_gets_the_number_it_has_there() {
        let moved = Acl::decode(RAW, &mut Adam).unwrap().encode(&mut Adam);
        let acl = Acl::decode(&moved, &mut ()).unwrap();
        assert_eq!(acl.entries[1].who, AclWho::User(1001, None));
        assert_eq!(acl.entries[3].who, AclWho::Group(5, None));
    }

    #[test]
    fn entries_in_another_order_are_put_into_the_kernels() {
        let mut acl = Acl::decode(RAW, &mut ()).unwrap();
        acl.entries.reverse();
        assert_eq!(acl.encode(&mut ()), RAW);
    }

    #[test]
    fn what_is_not_an_acl_is_refused() {
        let decode = |raw: &[u8]| Acl::decode(raw, &mut ());
        assert_eq!(decode(b""), Err(BadAcl::Size { bytes: 0 }));
        assert_eq!(decode(&RAW[..11]), Err(BadAcl::Size { bytes: 11 }));
        assert_eq!(decode(b"\x03\0\0\0"), Err(BadAcl::Version { version: 3 }));
        let mut endless = b"\x02\0\0\0".to_vec();
        endless.resize(XATTR_SIZE_MAX + 4, 1);
        assert!(matches!(decode(&endless), Err(BadAcl::Size { .. })));
        let stranger = b"\x02\0\0\0\x40\0\x06\0\xff\xff\xff\xff";
        assert_eq!(decode(stranger), Err(BadAcl::Tag { tag: 0x40 }));
        let generous = b"\x02\0\0\0\x01\0\x08\0\xff\xff\xff\xff";
        assert_eq!(
            decode(generous),
            Err(BadAcl::Permissions { permissions: 8 })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Acl::decode(&raw, &mut ());
        }

        #[test]
        fn whatever_is_read_survives_being_written(
            chosen in proptest::collection::vec((0..6u32, 0..8u8, any::<u32>()), 0..20)
        ) {
            let mut raw = VERSION.to_le_bytes().to_vec();
            for (bit, permissions, number) in chosen {
                raw.extend((1u16 << bit).to_le_bytes());
                raw.extend(u16::from(permissions).to_le_bytes());
                raw.extend(number.to_le_bytes());
            }
            let once = Acl::decode(&raw, &mut ()).unwrap().encode(&mut ());
            let twice = Acl::decode(&once, &mut ()).unwrap().encode(&mut ());
            prop_assert_eq!(once.len(), raw.len());
            prop_assert_eq!(once, twice);
        }
    }
}
