//! Decodes the escapes of JSON strings (RFC 8259, section 7).

/// Decodes the escapes of a checked string, which has no unpaired surrogate.
pub(crate) fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let letter = if byte == b'\\' { raw.get(at + 1) } else { None };
        let Some(letter) = letter else {
            text.push(byte);
            at += 1;
            continue;
        };
        at += 2;
        text.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                at -= 2;
                let units = utf16_unit(raw, at).into_iter().chain(utf16_unit(raw, at + 6));
                let unit = char::decode_utf16(units).next().and_then(Result::ok);
                let char = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                at += 6 * char.len_utf16();
                continue;
            }
            &itself => itself,
        });
    }
    text
}

/// Parses `\uXXXX` at an index.
fn utf16_unit(raw: &[u8], at: usize) -> Option<u16> {
    let digits = raw.get(at..at + 6)?.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_decoded() {
        for (raw, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            (r#"\"\/\b\f\n\r\t"#, "\"/\u{8}\u{c}\n\r\t"),
            (r"\u0054\u00E9\u6e29x", "Té温x"),
            (r"\ud83d\ude00\uD83D\uDE00", "😀😀"),
        ] {
            assert_eq!(unescape(raw.as_bytes()), expected.as_bytes(), "{raw}");
        }
    }
}
