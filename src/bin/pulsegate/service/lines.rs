//! Cuts the stream of a control socket into lines.

/// Cuts a stream into lines. A line that is too long is dropped, and its beginning is not kept.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line that has no end yet.
    partial: Vec<u8>,
    /// Whether the stream is inside of a line that is too long.
    skips: bool,
}

impl Lines {
    /// Passes each line to `on_line`, without its end, and `None` for each that has more than `bytes_max` bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], bytes_max: usize, mut on_line: impl FnMut(Option<&[u8]>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if std::mem::take(&mut self.skips) || self.partial.len() + line.len() > bytes_max {
                on_line(None);
            } else if self.partial.is_empty() {
                on_line(Some(line));
            } else {
                self.partial.extend_from_slice(line);
                on_line(Some(&self.partial));
            }
            self.partial.clear();
            self.partial.shrink_to(PARTIAL_KEPT);
        }
        if self.skips || self.partial.len() + bytes.len() > bytes_max {
            self.skips = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

/// Bytes of the buffer for a partial line that are kept: pictures come and go.
const PARTIAL_KEPT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the pieces and shows the lines, `-` for each that is too long.
    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            let show = |line: Option<&[u8]>| line.map_or("-".into(), |line| String::from_utf8_lossy(line).into_owned());
            lines.feed(piece, 5, |line| found.push(show(line)));
        }
        found
    }

    #[test]
    fn lines_are_the_same_at_every_cut() {
        let bytes = b"ab\n\nabcde\nabcdef\nx\nabcdefghijkl\ny\nz";
        for at in 0..=bytes.len() {
            for to in at..=bytes.len() {
                let found = cut(&[&bytes[..at], &bytes[at..to], &bytes[to..]]);
                assert_eq!(found, ["ab", "", "abcde", "-", "x", "-", "y"], "cut at {at} and {to}");
            }
        }
    }
}
