//! How things are said at a terminal, and how what is typed there is read.

use std::borrow::Cow;
use std::fmt::Write as _;

use gk_proto::acl::{Acl, perm};
use gk_proto::stat::Owner;
use gk_proto::{SessionId, WallTime, Zxid};

/// What of a secret nature may be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    /// Data of nodes.
    pub(crate) data: bool,
    /// Hashes of passwords in ACLs.
    pub(crate) digests: bool,
}

/// Text of others, safe to write to a terminal: what would move the cursor, change colours, hide or reorder text comes
/// out as its number. A backslash is doubled, so that nothing can pose as an escape.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c == '\\' || is_unsafe(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if is_unsafe(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out.into()
}

/// Control characters, and those that are invisible or change the direction of what follows.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Data of a node: how long it is, or what it is.
pub(crate) fn data(data: Option<&[u8]>, secrets: Secrets) -> String {
    let Some(bytes) = data else { return "null".to_owned() };
    if !secrets.data {
        return size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("\"{}\"", escaped(text).replace('"', "\\\"")),
        Err(_) => bytes.iter().fold("0x".to_owned(), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        }),
    }
}

/// A list of ACL entries as zkCli.sh takes them.
pub(crate) fn acl(list: &[Acl], secrets: Secrets) -> String {
    let entries: Vec<String> = list.iter().map(|acl| acl_entry(acl, secrets)).collect();
    if entries.is_empty() { "nobody".to_owned() } else { entries.join(",") }
}

fn acl_entry(acl: &Acl, secrets: Secrets) -> String {
    let id = acl_id(acl, secrets);
    format!("{}:{}:{}", escaped(&acl.id.scheme), escaped(&id), perms(acl.perms))
}

/// Of a digest id the user; the hash of the password only where it was asked for.
pub(crate) fn acl_id(acl: &Acl, secrets: Secrets) -> Cow<'_, str> {
    match (acl.id.scheme.as_str(), acl.id.id.split_once(':')) {
        ("digest", Some((user, _))) if !secrets.digests => format!("{user}:***").into(),
        ("digest", None) if !secrets.digests => "***".into(),
        _ => acl.id.id.as_str().into(),
    }
}

fn perms(perms: i32) -> String {
    let letters = [(perm::CREATE, 'c'), (perm::DELETE, 'd'), (perm::READ, 'r'), (perm::WRITE, 'w'), (perm::ADMIN, 'a')];
    let mut out: String = letters.into_iter().filter(|(bit, _)| perms & bit != 0).map(|(_, letter)| letter).collect();
    if perms & !perm::ALL != 0 {
        // Writing to a string cannot fail.
        let _ = write!(out, "+{:#x}", perms & !perm::ALL);
    }
    out
}

/// Whose a node is, if it is not simply persistent.
pub(crate) fn owner(owner: Owner) -> String {
    match owner {
        Owner::Persistent => "-".to_owned(),
        Owner::Session(session) => session.to_string(),
        Owner::Container => "container".to_owned(),
        Owner::Ttl(ms) => format!("ttl {}", duration(ms)),
    }
}

/// A span of milliseconds.
pub(crate) fn duration(ms: i64) -> String {
    if ms % 1000 == 0 { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

pub(crate) fn zxid(zxid: Zxid) -> String {
    format!("0x{zxid}")
}

/// An amount of bytes: exact below 10 KiB, else three digits or so.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 10 * 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, unit) = (tenths / 10, UNITS[unit]);
    if tenths < 100 { format!("{whole}.{} {unit}", tenths % 10) } else { format!("{whole} {unit}") }
}

/// `1 log`, `2 logs`
pub(crate) fn some(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `2026-11-20T08:03:05.924Z`
pub(crate) fn time(time: WallTime) -> String {
    let (seconds, ms) = (time.0.div_euclid(1000), time.0.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", second / 3600, second / 60 % 60, second % 60)
}

const DAY: i64 = 86_400;
const DAYS_TO_1970_FROM_MARCH_0: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the leap day is the last of
/// its year, and eras of 400 years repeat.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970_FROM_MARCH_0;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date, counted from 1970-01-01; the other way round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970_FROM_MARCH_0
}

/// A date, a date and time in UTC, or milliseconds since 1970.
pub(crate) fn parse_time(word: &str) -> Result<WallTime, String> {
    let wrong =
        || format!("\"{}\" is no time such as 2026-11-20, 2026-11-20T08:03:05Z or 1795161785924", escaped(word));
    if let Ok(ms) = word.parse() {
        return Ok(WallTime(ms));
    }
    let (date, clock) = word.split_once(['T', ' ']).unwrap_or((word, "00:00"));
    let clock = clock.strip_suffix('Z').unwrap_or(clock);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let date = numbers(date, '-').ok_or_else(wrong)?;
    let clock = numbers(clock, ':').ok_or_else(wrong)?;
    let &[year, month, day] = &date[..] else { return Err(wrong()) };
    let (hour, minute, second) = match clock[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(wrong()),
    };
    let ms: i64 = format!("{fraction:0<3}").get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let day_number = days(year, month, day);
    if civil(day_number) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return Err(wrong());
    }
    Ok(WallTime((day_number * DAY + hour * 3600 + minute * 60 + second) * 1000 + ms))
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    let digits = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(separator).map(|part| if digits(part) { part.parse().ok() } else { None }).collect()
}

/// A zxid as everybody prints it: hex, with or without `0x`.
pub(crate) fn parse_zxid(word: &str) -> Result<Zxid, String> {
    hex(word).map(Zxid).ok_or_else(|| format!("\"{}\" is no zxid such as 0x500000010", escaped(word)))
}

/// A session's id as everybody prints it: hex, with or without `0x`.
pub(crate) fn parse_session(word: &str) -> Result<SessionId, String> {
    let wrong = || format!("\"{}\" is no session such as 0x100000f40b30000", escaped(word));
    hex(word).map(SessionId).ok_or_else(wrong)
}

fn hex(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// The path of a node. It need not be one that a server would accept: what is on the disk may be older than the rules.
pub(crate) fn parse_path(word: &str) -> Result<String, String> {
    if !word.starts_with('/') {
        return Err("a path begins with /".to_owned());
    }
    let trimmed = word.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

/// Whether `path` is `top` or below it.
pub(crate) fn is_below(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_proto::acl::Id;

    const HIDE: Secrets = Secrets { data: false, digests: false };
    const SHOW: Secrets = Secrets { data: true, digests: true };

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        assert_eq!(escaped("/ünï/日本語"), "/ünï/日本語", "letters stay");
        let hostile = "/a\u{1b}[2J\u{9b}1m\r\n\u{202e}\u{200b}\\u{1b}\u{7f}";
        let expected = "/a\\u{1b}[2J\\u{9b}1m\\u{d}\\n\\u{202e}\\u{200b}\\\\u{1b}\\u{7f}";
        assert_eq!(escaped(hostile), expected);
        assert_eq!(data(Some(hostile.as_bytes()), SHOW), format!("\"{expected}\""), "data too");
    }

    #[test]
    fn secrets_are_shown_on_request_only() {
        assert_eq!([data(None, HIDE), data(Some(b"pass"), HIDE)], ["null", "4 B"]);
        assert_eq!([data(Some(b"a\"b"), SHOW), data(Some(&[0xff, 0]), SHOW)], ["\"a\\\"b\"", "0xff00"]);
        let acls = [
            Acl { perms: perm::ALL, id: Id::new("digest", "alice:aGFzaA==") },
            Acl { perms: perm::READ | 64, id: Id::new("ip", "10.0.0.0/8") },
        ];
        assert_eq!(acl(&acls, HIDE), "digest:alice:***:cdrwa,ip:10.0.0.0/8:r+0x40");
        assert_eq!(acl(&acls[..1], SHOW), "digest:alice:aGFzaA==:cdrwa");
        let odd = [Acl { perms: 1, id: Id::new("digest", "secret") }];
        assert_eq!(acl(&odd, HIDE), "digest:***:r", "a hash without user");
    }

    #[test]
    fn times_read_as_they_are_printed() {
        for ms in [0, 1_795_161_785_924, -1, 951_782_400_000, 253_402_300_799_999] {
            assert_eq!(parse_time(&time(WallTime(ms))), Ok(WallTime(ms)), "{}", time(WallTime(ms)));
        }
        assert_eq!(time(WallTime(1_795_161_785_924)), "2026-11-20T08:03:05.924Z");
        assert_eq!(parse_time("2026-11-20"), Ok(WallTime(1_795_132_800_000)), "midnight");
        assert_eq!(parse_time("2026-11-20 08:03"), Ok(WallTime(1_795_161_780_000)), "minutes");
        for wrong in ["2026-02-29", "2026-13-01", "yesterday", "2026-11-20T24:00", "2026-11-20T08", "", "-", "2026-11-"]
        {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn zxids_and_sessions_are_hex_and_paths_begin_with_a_slash() {
        assert_eq!(parse_zxid("0x5f"), parse_zxid("5f"));
        assert!(parse_zxid("5g").is_err() && parse_zxid("").is_err() && parse_session("0x1ffffffffffffffff").is_err());
        assert_eq!([parse_path("/a/"), parse_path("/")], [Ok("/a".to_owned()), Ok("/".to_owned())]);
        assert!(parse_path("a").is_err());
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a") && is_below("/a", "/") && !is_below("/ab", "/a"));
    }

    #[test]
    fn sizes_have_the_unit_that_leaves_few_digits() {
        let shown = [0, 10_239, 10_240, 67_108_880, 1 << 20, 5_905_580_032, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "10239 B", "10 KiB", "64 MiB", "1.0 MiB", "5.5 GiB", "16777215 TiB"]);
    }
}
