//! `clients/c/pulsegate.h` finds in the same bytes the same beats, commands and members as the gateway's side, in every
//! build that this machine can make: gcc, clang, with sanitizers, and big-endian under an emulator.
//!
//! The random tests print the seed of each round. `PULSEGATE_C_SEED=SEED` repeats one round, and `PULSEGATE_C_SECONDS=600`
//! runs more rounds (`scripts/fuzz.sh 600 c`).

mod chance;
#[path = "../common/compilers.rs"]
mod compilers;
mod files;
mod harness;
mod objects;
mod streams;
mod times;
