//! Numbers of JSON as they are written: one form for each value, and how far two are apart.
//!
//! It works on the digits, so that none is lost: RFC 8785 wants every number to be a double, which would change
//! identifiers beyond 2^53 and long decimals. A number with the digits that RFC 8785 gives it has its form here. Must
//! not know: where numbers stand.

use std::borrow::Cow;

/// The canonical form of a JSON number. An integer without fraction and exponent stays as it is.
pub(super) fn canonical(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw == b"-0" {
        return Cow::Borrowed(b"0");
    }
    if is_integer(raw) {
        return Cow::Borrowed(raw);
    }
    // A number whose exponent is too large to be read stays as it is: no other form is known to be equal.
    Decimal::read(raw).map_or(Cow::Borrowed(raw), |decimal| Cow::Owned(decimal.write()))
}

/// Whether two numbers differ by no more than `tolerance`.
pub(super) fn within(one: &[u8], other: &[u8], tolerance: f64) -> bool {
    if one == other {
        return true;
    }
    // Integers may be identifiers that a double cannot tell apart.
    if is_integer(one) && is_integer(other) {
        let apart = || integer(one)?.checked_sub(integer(other)?);
        return apart().is_some_and(|apart| apart.unsigned_abs() as f64 <= tolerance);
    }
    let (Some(one), Some(other)) = (double(one), double(other)) else {
        return false;
    };
    // 1.01 - 1.00 is a little more than 0.01: the error of the two doubles does not count.
    let error = one.abs().max(other.abs()) * f64::EPSILON;
    (one - other).abs() <= tolerance + error
}

/// Whether a number is written as an integer.
fn is_integer(raw: &[u8]) -> bool {
    !raw.iter().any(|b| matches!(b, b'.' | b'e' | b'E'))
}

fn integer(raw: &[u8]) -> Option<i128> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

fn double(raw: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// The number 0.DIGITS × 10^point; zero has no digits. Neither the first nor the last digit is 0.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// Most digits before the point. Larger numbers are written with an exponent (ECMA-262, Number::toString).
const PLAIN_DIGITS_MAX: i64 = 21;
const PLAIN_ZEROS_MAX: i64 = 6;

impl Decimal {
    fn read(raw: &[u8]) -> Option<Decimal> {
        let (negative, rest) = match raw.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, raw),
        };
        let e = rest.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, exponent) = rest.split_at(e.unwrap_or(rest.len()));
        let exponent: i64 = match exponent {
            [] => 0,
            [_, digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        };
        let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
        let all: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
        let zeros = all.iter().take_while(|b| **b == b'0').count();
        let last = all.iter().rposition(|b| *b != b'0').map_or(zeros, |last| last + 1);
        let digits = all[zeros..last].to_vec();
        let point = i64::try_from(point).ok()?.checked_sub(i64::try_from(zeros).ok()?)?;
        Some(Decimal { negative, digits, point: point.checked_add(exponent)? })
    }

    fn write(&self) -> Vec<u8> {
        let Decimal { negative, digits, point } = self;
        let (count, point) = (digits.len() as i64, *point);
        if digits.is_empty() {
            return b"0".to_vec();
        }
        let mut out = Vec::with_capacity(digits.len() + 24);
        out.extend(negative.then_some(b'-'));
        let zeros = |out: &mut Vec<u8>, n: i64| out.extend((0..n).map(|_| b'0'));
        if (1..=PLAIN_DIGITS_MAX).contains(&point) && count <= point {
            out.extend(digits);
            zeros(&mut out, point - count);
        } else if (1..=PLAIN_DIGITS_MAX).contains(&point) {
            let (whole, part) = digits.split_at(point as usize);
            out.extend(whole);
            out.push(b'.');
            out.extend(part);
        } else if (1 - PLAIN_ZEROS_MAX..=0).contains(&point) {
            out.extend(b"0.");
            zeros(&mut out, -point);
            out.extend(digits);
        } else {
            let (first, rest) = digits.split_at(1);
            out.extend(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend(rest);
            }
            out.extend(format!("e{:+}", point.saturating_sub(1)).bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(raw: &str) -> String {
        String::from_utf8(canonical(raw.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_value_has_one_form() {
        for (raw, wanted) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e5", "0"),
            ("1.0", "1"),
            ("1e2", "100"),
            ("1.50", "1.5"),
            ("-15.0E-1", "-1.5"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1E21", "1e+21"),
            ("123e18", "123000000000000000000"),
            ("1234.5e20", "1.2345e+23"),
        ] {
            assert_eq!(form(raw), wanted, "{raw}");
        }
    }

    #[test]
    fn no_digit_is_lost() {
        for kept in [
            "9007199254740993",
            "-123456789012345678901234567890",
            "0.1234567890123456789",
            "12345678901234567.89",
            "1e99999999999999999999",
        ] {
            assert_eq!(form(kept), kept);
        }
    }

    #[test]
    fn a_tolerance_is_in_the_units_of_the_number() {
        let within = |a: &str, b: &str, t| within(a.as_bytes(), b.as_bytes(), t);
        assert!(within("1.00", "1.01", 0.01));
        assert!(!within("1.00", "1.011", 0.01));
        assert!(within("100", "101", 1.0) && !within("100", "102", 1.0));
        assert!(!within("9007199254740992", "9007199254740993", 0.5));
        assert!(!within("123456789012345678901234567890123456789012", "1", 1e300));
        assert!(!within("1e400", "2e400", 1.0));
    }

    proptest! {
        #[test]
        fn a_double_has_the_form_of_rfc_8785(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let wanted = serde_json_canonicalizer::to_string(&value).unwrap();
            // Written with a fraction or an exponent, and with the digits nearest to the value.
            prop_assert_eq!(form(&serde_json::to_string(&value).unwrap()), wanted);
        }

        #[test]
        fn a_form_is_its_own_form(raw in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?(e[+-]?[0-9]{1,4})?") {
            let once = form(&raw);
            prop_assert_eq!(form(&once), once);
        }
    }
}
