//! The log of a service: the former file and the one that is written to, as one stream.

use same_file::Handle;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Size of a block that is read at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// The log at a path, which becomes the former file when it is too large.
pub(super) struct Log {
    path: PathBuf,
    /// The open files, the oldest first. A process may still write to a former one.
    files: Vec<Handle>,
    block: Box<[u8]>,
}

impl Log {
    /// Opens both files, where they exist, at the beginning of the last `lines` of both together, or of all lines.
    pub(super) fn open(path: &Path, lines: Option<usize>) -> io::Result<Self> {
        let mut log = Self { path: path.to_owned(), files: Vec::new(), block: vec![0; BLOCK].into() };
        log.open_new()?;
        let mut left = lines;
        for file in log.files.iter_mut().rev() {
            if let Some(left) = &mut left {
                *left -= seek_to_last(file.as_file_mut(), *left)?;
            }
        }
        Ok(log)
    }

    /// Returns whether there was no file yet.
    pub(super) fn is_missing(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the next bytes; `None` if there are no more for now.
    pub(super) fn read(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            for file in &mut self.files {
                let file = file.as_file_mut();
                // A file that was emptied begins again.
                if file.stream_position()? > file.metadata()?.len() {
                    file.rewind()?;
                }
                let length = file.read(&mut self.block)?;
                if length > 0 {
                    return Ok(Some(&self.block[..length]));
                }
            }
            if !self.open_new()? {
                return Ok(None);
            }
        }
    }

    /// Opens the files that are at the two paths by now, and returns whether one of them is another one than before. All of the
    /// former ones have been read.
    fn open_new(&mut self) -> io::Result<bool> {
        // If the log becomes the former file in between, it is opened twice, and the new one by the next call.
        let log = open(&self.path)?;
        let former = open(&self.path.with_extension("1"))?;
        let mut has_new = false;
        for file in [former, log].into_iter().flatten() {
            if !self.files.contains(&file) {
                self.files.push(file);
                has_new = true;
            }
        }
        self.files.drain(..self.files.len().saturating_sub(2));
        Ok(has_new)
    }
}

fn open(path: &Path) -> io::Result<Option<Handle>> {
    match Handle::from_path(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Goes to the beginning of the last `lines` of the file, and returns how many lines follow. A last line need not have an end.
fn seek_to_last(file: &mut File, lines: usize) -> io::Result<usize> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 || end == 0 {
        return Ok(0);
    }
    let mut found = 0;
    let mut block_end = end;
    while block_end > 0 {
        let start = block_end.saturating_sub(BLOCK as u64);
        let mut block = Vec::with_capacity(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        file.take(block_end - start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let line = start + at as u64 + 1;
            found += usize::from(line < end);
            if found == lines {
                file.seek(SeekFrom::Start(line))?;
                return Ok(lines);
            }
        }
        block_end = start;
    }
    file.rewind()?;
    Ok(found + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn rest(log: &mut Log) -> String {
        let mut text = Vec::new();
        while let Some(bytes) = log.read().unwrap() {
            text.extend_from_slice(bytes);
        }
        String::from_utf8(text).unwrap()
    }

    fn last(path: &Path, lines: usize) -> String {
        rest(&mut Log::open(path, Some(lines)).unwrap())
    }

    #[test]
    fn the_last_lines_are_those_of_both_files_together() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(Log::open(&path, None).unwrap().is_missing());
        fs::write(path.with_extension("1"), "one\ntwo\n").unwrap();
        assert_eq!(last(&path, 1), "two\n");
        fs::write(&path, "three\nfour").unwrap();
        let all = "one\ntwo\nthree\nfour";
        for (lines, from) in [(0, 18), (1, 14), (2, 8), (3, 4), (4, 0), (9, 0)] {
            assert_eq!(last(&path, lines), all[from..], "{lines}");
        }
        assert_eq!(rest(&mut Log::open(&path, None).unwrap()), all);
        fs::write(&path, "\n\n").unwrap();
        assert_eq!(last(&path, 1), "\n");
    }

    #[test]
    fn lines_longer_than_a_block_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let line = |char: &str| char.repeat(BLOCK + 1) + "\n";
        fs::write(&path, line("a") + &line("b") + &line("c")).unwrap();
        assert_eq!(last(&path, 2), line("b") + &line("c"));
    }

    #[test]
    fn no_byte_is_lost_when_the_log_becomes_the_former_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, former) = (directory.path().join("log"), directory.path().join("log.1"));
        fs::write(&path, "a").unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        let mut log = Log::open(&path, None).unwrap();
        assert_eq!(rest(&mut log), "a");
        fs::rename(&path, &former).unwrap();
        writer.write_all(b"b").unwrap();
        fs::write(&path, "c").unwrap();
        assert_eq!(rest(&mut log), "bc");
        // A child of the daemon keeps writing to the former one.
        writer.write_all(b"d").unwrap();
        assert_eq!(rest(&mut log), "d");
        // Twice between two looks.
        for text in ["e", "f"] {
            fs::rename(&path, &former).unwrap();
            fs::write(&path, text).unwrap();
        }
        assert_eq!(rest(&mut log), "ef");
        fs::write(&path, "").unwrap();
        assert_eq!(rest(&mut log), "");
        fs::write(&path, "g").unwrap();
        assert_eq!(rest(&mut log), "g");
        fs::remove_file(&path).unwrap();
        assert_eq!(rest(&mut log), "");
    }
}
