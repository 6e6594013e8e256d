//! The clients of this repository against the executable: each connects, lives, obeys, and moves files in both directions.

#[path = "../common/executable.rs"]
mod executable;

mod c;
mod files;
mod folder;
mod life;
mod python;
mod rust;
