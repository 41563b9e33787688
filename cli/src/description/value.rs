//! Values of a description's keys.

use droste_image::{El2, OnReboot, check_name};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::qemu::{Format, Forward};

/// Reads a value, or says what it must be.
pub(super) type Read<'a, T> = fn(&'a Spanned<DeValue<'a>>) -> Result<T, &'static str>;

pub(super) fn string(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    word(value, |text| Some(text.to_owned())).ok_or("text in quotes")
}

/// Text that names something.
pub(super) fn named(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    let name = string(value)?;
    if name.is_empty() {
        return Err("a name, not empty text");
    }
    Ok(name)
}

pub(super) fn table<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<&'a DeTable<'a>, &'static str> {
    value.get_ref().as_table().ok_or("a table")
}

/// Tables in a list, as `[[key]]` writes them.
pub(super) fn tables<'a>(
    value: &'a Spanned<DeValue<'a>>,
) -> Result<Vec<Spanned<&'a DeTable<'a>>>, &'static str> {
    let one = |value: &'a Spanned<DeValue<'a>>| {
        Some(Spanned::new(value.span(), value.get_ref().as_table()?))
    };
    let list = value.get_ref().as_array();
    list.and_then(|list| list.iter().map(one).collect())
        .ok_or("a list of tables, each with [[vm]] above it")
}

pub(super) fn boolean(value: &Spanned<DeValue<'_>>) -> Result<bool, &'static str> {
    value.get_ref().as_bool().ok_or("true or false")
}

pub(super) fn number(value: &Spanned<DeValue<'_>>) -> Result<u32, &'static str> {
    let integer = match value.get_ref() {
        DeValue::Integer(integer) => integer,
        DeValue::Float(_) => return Err("a whole number"),
        _ => return Err("a whole number, without quotes"),
    };
    u32::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| "a number from 1 to 64")
}

/// Text, as `meaning` reads it.
fn word<T>(value: &Spanned<DeValue<'_>>, meaning: fn(&str) -> Option<T>) -> Option<T> {
    value.get_ref().as_str().and_then(meaning)
}

pub(super) fn size(value: &Spanned<DeValue<'_>>) -> Result<u64, &'static str> {
    word(value, parse_size).ok_or("a size in quotes, a whole number with the unit K, M or G")
}

/// What stands for a device: text, or a table with keys of its own.
pub(super) enum Item<'a> {
    Text(&'a str),
    Table(&'a DeTable<'a>),
}

/// One item or a list of items, whose text is as `is_known` says.
fn items<'a>(
    value: &'a Spanned<DeValue<'a>>,
    is_known: fn(&str) -> bool,
) -> Option<Vec<Spanned<Item<'a>>>> {
    let one = |value: &'a Spanned<DeValue<'a>>| {
        let item = match value.get_ref() {
            DeValue::Table(table) => Item::Table(table),
            text => Item::Text(text.as_str().filter(|text| is_known(text))?),
        };
        Some(Spanned::new(value.span(), item))
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(one).collect(),
        _ => one(value).map(|item| vec![item]),
    }
}

pub(super) fn disks<'a>(
    value: &'a Spanned<DeValue<'a>>,
) -> Result<Vec<Spanned<Item<'a>>>, &'static str> {
    items(value, |name| !name.is_empty()).ok_or(
        "the name of a file in quotes, { file = \"…\", format = \"raw\" or \"qcow2\", readonly = true or false }, or a list \
         of these",
    )
}

pub(super) fn format(value: &Spanned<DeValue<'_>>) -> Result<Format, &'static str> {
    word(value, Format::from_word).ok_or("\"raw\" or \"qcow2\"")
}

pub(super) fn nets<'a>(
    value: &'a Spanned<DeValue<'a>>,
) -> Result<Vec<Spanned<Item<'a>>>, &'static str> {
    items(value, |word| word == "user").ok_or(
        "\"user\", { user = true, forward = [\"HOST:GUEST\"] }, { switch = \"NAME\" }, or a list of these",
    )
}

pub(super) fn yes(value: &Spanned<DeValue<'_>>) -> Result<(), &'static str> {
    (value.get_ref().as_bool() == Some(true))
        .then_some(())
        .ok_or("true, or left out")
}

pub(super) fn forwards(value: &Spanned<DeValue<'_>>) -> Result<Vec<Forward>, &'static str> {
    let port = |port: &Spanned<DeValue<'_>>| word(port, Forward::parse);
    let list = value.get_ref().as_array();
    list.and_then(|list| list.iter().map(port).collect())
        .ok_or("a list of ports as \"HOST:GUEST\", such as \"2222:22\" or \"0.0.0.0:53:53/udp\"")
}

pub(super) fn switch(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    let name = |text: &str| check_name(text).ok().map(|()| text.to_owned());
    word(value, name).ok_or("a name of 1 to 31 characters: a-z, 0-9 and '-'")
}

pub(super) fn reboot(value: &Spanned<DeValue<'_>>) -> Result<OnReboot, &'static str> {
    word(value, OnReboot::from_word).ok_or("\"restart\" or \"stop\"")
}

pub(super) fn el2(value: &Spanned<DeValue<'_>>) -> Result<El2, &'static str> {
    word(value, El2::from_word).ok_or("\"vhe\", \"nvhe\" or \"none\"")
}

/// The bytes that a size such as `512M`, `512MB` or `2G` stands for; units are powers of 1024, as those of QEMU and Docker.
///
/// ```
/// use droste::description::parse_size;
/// assert_eq!(parse_size("512M"), Some(512 << 20));
/// assert_eq!(parse_size("512"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    let shift = match text.get(digits.len()..)?.trim() {
        "K" | "k" | "KB" | "KiB" => 10,
        "M" | "m" | "MB" | "MiB" => 20,
        "G" | "g" | "GB" | "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(parse_size("2G"), Some(2 << 30));
        assert_eq!(parse_size("16 MiB"), Some(16 << 20));
        assert_eq!(parse_size("1K"), Some(1024));
        for same in ["512M", "512m", "512MB", "512MiB", "512 M"] {
            assert_eq!(parse_size(same), Some(512 << 20), "{same}");
        }
        for wrong in [
            "",
            "M",
            "1.5G",
            "512",
            "1Mb",
            "1T",
            "-1M",
            "99999999999999999999G",
            "18446744073709551615G",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
