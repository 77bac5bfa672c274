//! Borg 1.x repositories, read and written.
