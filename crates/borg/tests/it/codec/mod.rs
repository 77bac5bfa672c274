//! What is written by ours is read by stock Borg, and the other way round, piece by piece.

mod chunks;
mod pieces;
