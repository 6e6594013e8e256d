//! The folder of a store, as a trait, so that tests can run it on a disk that forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// The files of one folder.
pub(in crate::mqtt) trait Disk {
    /// The names of all files.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// The content of a file, of which at most `bytes_max` bytes are read.
    fn read(&mut self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// Appends to a file, which this creates if there is none.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites a part of a file, which this creates if there is none.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()>;
    /// Waits until the content of a file is on the medium.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Waits until the names of the files are on the medium.
    fn sync_names(&mut self) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A folder of the file system.
pub(in crate::mqtt) struct Folder(pub(in crate::mqtt) PathBuf);

/// Files are for this user alone: messages may be private.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Files of a folder that are listed. A store has far fewer.
const FILES_MAX: usize = 100_000;

impl Folder {
    fn open(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        options.create(true).mode(FILE_MODE).open(self.0.join(name))
    }
}

impl Disk for Folder {
    fn list(&mut self) -> io::Result<Vec<String>> {
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.0)?;
        let names = fs::read_dir(&self.0)?.take(FILES_MAX);
        // A name that is no UTF-8 is of another program.
        Ok(names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    fn read(&mut self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = self.0.join(name);
        if !fs::metadata(&path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open(name, OpenOptions::new().append(true))?.write_all(bytes)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.open(name, OpenOptions::new().write(true))?.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.0.join(name))?.set_len(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.0.join(name))?.sync_data()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }
}
