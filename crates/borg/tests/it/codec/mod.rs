//! What is written by ours is read by stock Borg, and the other way round, piece by piece.

mod bounds;
mod chunks;
mod golden;
mod pieces;
