//! Where a layer's bytes are kept: disk, SSH and cloud services behind one interface.
