//! File systems that keep no files: what they show is the state of the kernel, made up while it is
//! read. Some of it never ends, some does something when it is read, and none can be restored.

use std::os::fd::AsFd;

/// Their numbers, as `statfs` tells them.
///
/// Those that people may keep files in are not among them: `tmpfs`, also that of `/dev`, and
/// `autofs`, below which a network drive may be mounted.
///
/// Source: `linux/magic.h`.
const KINDS: [u32; 21] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x0000_1cd1, // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x4249_4e4d, // binfmt_misc
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
    0x0765_5821, // resctrl
];

/// Whether a folder lies on such a file system.
pub(super) fn holds(folder: &impl AsFd) -> bool {
    rustix::fs::fstatfs(folder)
        .is_ok_and(|found| u32::try_from(found.f_type).is_ok_and(|kind| KINDS.contains(&kind)))
}
