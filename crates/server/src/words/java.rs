//! How Java prints: doubles, dates, socket addresses.

use gk_proto::WallTime;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// `Double.toString`: at least one decimal, and scientific notation below 0.001 and from 10^7 on.
pub(super) fn double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return with_a_decimal(&value.to_string());
    }
    if !value.is_finite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return if value.is_nan() { "NaN".to_owned() } else { format!("{sign}Infinity") };
    }
    let shown = format!("{value:e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    format!("{}E{exponent}", with_a_decimal(mantissa))
}

fn with_a_decimal(digits: &str) -> String {
    if digits.contains('.') { digits.to_owned() } else { format!("{digits}.0") }
}

/// `total / count` as ZooKeeper's `AvgMinMaxCounter` gives it: four decimals, halves rounded up; 0 for no count.
pub(super) fn average(total: u64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "Java divides two doubles; 2^53 ms are 285,000 years of latency")]
    let exact = total as f64 / count as f64;
    // BigDecimal rounds the exact value of the double. Its fifth decimal decides, and the digits here are exact: a
    // quotient of whole numbers above 2^-28 has at most 80 of them, one below rounds to 0 anyhow.
    let digits = format!("{exact:.80}");
    let point = digits.find('.').unwrap_or(digits.len());
    let (kept, rest) = digits.split_at((point + 5).min(digits.len()));
    let kept: f64 = kept.parse().unwrap_or(exact);
    if rest.starts_with(['5', '6', '7', '8', '9']) {
        // Adding 0.0001 and rounding to four decimals again gives the double nearest to the decimal, as parsing does.
        return format!("{:.4}", kept + 0.0001).parse().unwrap_or(kept);
    }
    kept
}

/// `Date.toString`, in UTC: `Fri Nov 20 07:56:16 UTC 2026`.
pub(super) fn date(time: WallTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.0.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let pick = |names: &[&'static str], index: i64| usize::try_from(index).ok().and_then(|i| names.get(i).copied());
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        pick(&DAYS, days.rem_euclid(7)).unwrap_or_default(),
        pick(&MONTHS, month - 1).unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years begin in March
/// here, so that the leap day is the last of its year, and eras of 400 years repeat.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_1970_FROM_MARCH_0: i64 = 719_468;
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + DAYS_TO_1970_FROM_MARCH_0;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `InetSocketAddress.toString` of an address without a name: `/127.0.0.1:40992`, `/[0:0:0:0:0:0:0:1]:40992`.
pub(super) fn address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let mut shown = String::from("/[");
            for (index, group) in ip.segments().into_iter().enumerate() {
                let separator = if index == 0 { "" } else { ":" };
                write!(shown, "{separator}{group:x}").expect("INVARIANT: writing to a String does not fail");
            }
            shown + "]:" + &address.port().to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_java() {
        let expected = [
            (0.0, "0.0"),
            (4.625, "4.625"),
            (2.0, "2.0"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (1.5e-4, "1.5E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (123_456_789.5, "1.234567895E8"),
            (-3.25, "-3.25"),
            (f64::INFINITY, "Infinity"),
        ];
        for (value, text) in expected {
            assert_eq!(double(value), text, "{value}");
        }
    }

    #[test]
    fn averages_have_four_decimals_with_halves_rounded_up() {
        let expected = [
            (0, 0, "0.0"),
            (28, 15, "1.8667"),
            (1, 3, "0.3333"),
            (1, 32, "0.0313"), // 0.03125 exactly
            (3, 32, "0.0938"), // 0.09375 exactly
            (199_999, 100_000, "2.0"),
            (1, 20_000, "1.0E-4"), // the double lies a little above 0.00005
            (1, 1_000_000, "0.0"),
            (7, 1, "7.0"),
        ];
        for (total, count, text) in expected {
            assert_eq!(double(average(total, count)), text, "{total}/{count}");
        }
    }

    #[test]
    fn dates_look_as_in_java() {
        let expected = [
            (1_795_161_376_000, "Fri Nov 20 07:56:16 UTC 2026"),
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_999, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_709_251_199_000, "Thu Feb 29 23:59:59 UTC 2024"),
            (1_735_689_599_000, "Tue Dec 31 23:59:59 UTC 2024"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ];
        for (millis, text) in expected {
            assert_eq!(date(WallTime(millis)), text, "{millis}");
        }
    }

    #[test]
    fn addresses_look_as_in_java() {
        let expected = [
            ("127.0.0.1:40992", "/127.0.0.1:40992"),
            ("[::1]:1", "/[0:0:0:0:0:0:0:1]:1"),
            ("[::ffff:10.0.0.7]:65535", "/10.0.0.7:65535"),
            ("[2001:db8::a]:2", "/[2001:db8:0:0:0:0:0:a]:2"),
        ];
        for (given, text) in expected {
            assert_eq!(address(given.parse().unwrap()), text, "{given}");
        }
    }
}
