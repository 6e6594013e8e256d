//! Seeded random numbers and samples for the tests of this directory.

/// xorshift64*: the same seed gives the same run. The seed must not be 0.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Returns valid JSON with every kind of value, string and whitespace. `depth` bounds its nesting.
pub(crate) fn value(rng: &mut Rng, depth: u32) -> String {
    let kinds = if depth == 0 { 6 } else { 9 };
    match rng.below(kinds) {
        0 => rng.pick(&["0", "-0", "7", "-12", "1234567890123", "0.5", "-3.25e-1", "1E+400", "9e9", "10.00"]).into(),
        1 => rng.pick(&["true", "false", "null"]).into(),
        2..6 => string(rng),
        6 => object(rng, depth - 1, None),
        _ => {
            let elements: Vec<_> = (0..rng.below(4)).map(|_| value(rng, depth - 1)).collect();
            format!("[{}{}]", space(rng), elements.join(&format!("{},{}", space(rng), space(rng))))
        }
    }
}

/// Returns a valid object, which contains `member`.
pub(crate) fn object(rng: &mut Rng, depth: u32, member: Option<&str>) -> String {
    let mut members: Vec<_> = (0..rng.below(4))
        .map(|_| format!("{}{}:{}{}{}", string(rng), space(rng), space(rng), value(rng, depth), space(rng)))
        .collect();
    if let Some(member) = member {
        members.insert(rng.below(members.len() + 1), member.to_owned());
    }
    format!("{{{}{}}}", space(rng), members.join(&format!(",{}", space(rng))))
}

fn string(rng: &mut Rng) -> String {
    let parts = [
        "a",
        "Type",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "é",
        "温度",
        "😀",
        r"\\",
        r#"\""#,
        r"\n",
        r"\/",
        r"\u0041",
        r"\ud83d\ude00",
        r"\uD7FF",
        "plain text of some length",
        "/9j/4AAQSkZJRgABAQAAAQABAAD+ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv",
    ];
    let long = if rng.below(8) == 0 { 40 } else { 4 };
    let text: String = (0..rng.below(long)).map(|_| rng.pick(&parts)).collect();
    format!("\"{text}\"")
}

fn space(rng: &mut Rng) -> &'static str {
    rng.pick(&["", "", "", "", " ", "\n", "\r\n\t ", "          "])
}
