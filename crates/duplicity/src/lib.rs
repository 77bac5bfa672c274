//! Duplicity's archives, read and written.
