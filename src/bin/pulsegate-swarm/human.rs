//! Formats numbers for people.

/// A number with commas between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second.
pub(crate) fn rate(number: f64) -> String {
    count(number.round() as u64)
}

/// Microseconds, in the unit that gives few digits.
pub(crate) fn micros(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} µs"),
        1_000..100_000 => format!("{:.2} ms", number as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", number as f64 / 1e3),
        _ => format!("{:.2} s", number as f64 / 1e6),
    }
}

/// Minutes and seconds, preceded by hours if there are any.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits_and_a_unit() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 250_000, 2_500_000].map(micros), ["7 µs", "1.50 ms", "250 ms", "2.50 s"]);
        assert_eq!([0.0, 75.9, 3_661.0].map(clock), ["00:00", "01:15", "1:01:01"]);
    }
}
