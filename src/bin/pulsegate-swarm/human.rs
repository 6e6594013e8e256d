//! Numbers for people.

/// With commas between thousands.
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

/// In the unit that leaves few digits.
pub(crate) fn bytes(number: f64) -> String {
    for (unit, size) in [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if number.abs() >= size {
            return format!("{:.*} {unit}", if number.abs() < 100.0 * size { 1 } else { 0 }, number / size);
        }
    }
    format!("{number:.0} B")
}

/// Microseconds, in the unit that leaves few digits.
pub(crate) fn micros(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} µs"),
        1_000..100_000 => format!("{:.2} ms", number as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", number as f64 / 1e3),
        _ => format!("{:.2} s", number as f64 / 1e6),
    }
}

/// Minutes and seconds, and hours if there are any.
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
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 999.0, 1500.0, 150_000.0, 2.5e6, 3e9].map(bytes),
            ["0 B", "999 B", "1.5 kB", "150 kB", "2.5 MB", "3.0 GB"]
        );
        assert_eq!([7, 1_500, 250_000, 2_500_000].map(micros), ["7 µs", "1.50 ms", "250 ms", "2.50 s"]);
        assert_eq!([0.0, 75.9, 3_661.0].map(clock), ["00:00", "01:15", "1:01:01"]);
    }
}
