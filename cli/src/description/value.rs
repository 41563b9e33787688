//! Values of a description's keys.

use droste_image::{El2, OnReboot, check_name};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Net;
use crate::qemu::{Access, Format, Forward};

/// Reads a value, or says what it must be.
pub(super) type Read<'a, T> = fn(&'a Spanned<DeValue<'a>>) -> Result<T, &'static str>;

pub(super) fn string(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    value
        .get_ref()
        .as_str()
        .map(String::from)
        .ok_or("text in quotes")
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

pub(super) fn size(value: &Spanned<DeValue<'_>>) -> Result<u64, &'static str> {
    value
        .get_ref()
        .as_str()
        .and_then(parse_size)
        .ok_or("a size in quotes, a whole number with the unit K, M or G")
}

/// A disk as a description has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DiskValue {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) access: Access,
}

/// One disk or a list of disks, each by its name, or a table.
pub(super) fn disks<'a>(
    value: &'a Spanned<DeValue<'a>>,
) -> Result<Vec<Spanned<DiskValue>>, &'static str> {
    const EXPECTED: &str = "the name of a file in quotes, { file = \"…\", format = \"raw\" or \"qcow2\", readonly = true or \
                            false }, or a list of these";
    let one = |value: &'a Spanned<DeValue<'a>>| {
        let disk = match value.get_ref() {
            DeValue::Table(table) => disk(table)?,
            name => DiskValue {
                name: name.as_str()?.to_owned(),
                format: Format::Raw,
                access: Access::ReadWrite,
            },
        };
        Some(Spanned::new(value.span(), disk))
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(one).collect::<Option<_>>().ok_or(EXPECTED),
        _ => one(value).map(|disk| vec![disk]).ok_or(EXPECTED),
    }
}

fn disk(table: &DeTable<'_>) -> Option<DiskValue> {
    let mut file = None;
    let mut disk = DiskValue {
        name: String::new(),
        format: Format::Raw,
        access: Access::ReadWrite,
    };
    for (key, value) in table {
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "file" => file = Some(value.as_str()?.to_owned()),
            "format" => disk.format = Format::from_word(value.as_str()?)?,
            "readonly" if value.as_bool()? => disk.access = Access::ReadOnly,
            "readonly" => {}
            _ => return None,
        }
    }
    disk.name = file?;
    Some(disk)
}

/// A network adapter or a list of such: `"user"`, or a table with the ports that are forwarded, or with the name of a switch.
pub(super) fn nets<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Vec<Spanned<Net>>, &'static str> {
    const EXPECTED: &str = "\"user\", { user = true, forward = [\"HOST:GUEST\"] } with ports such as \"2222:22\" or \
                            \"0.0.0.0:53:53/udp\", { switch = \"NAME\" } with a name of a-z, 0-9 and '-', or a list of these";
    let one = |value: &'a Spanned<DeValue<'a>>| {
        let net = match value.get_ref() {
            DeValue::Table(table) => net(table)?,
            word => (word.as_str() == Some("user")).then(|| Net::User(Vec::new()))?,
        };
        Some(Spanned::new(value.span(), net))
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(one).collect::<Option<_>>().ok_or(EXPECTED),
        _ => one(value).map(|net| vec![net]).ok_or(EXPECTED),
    }
}

fn net(table: &DeTable<'_>) -> Option<Net> {
    let (mut forwards, mut switch) = (None, None);
    for (key, value) in table {
        let value = value.get_ref();
        match (key.get_ref().as_ref(), value) {
            ("user", DeValue::Boolean(true)) => {
                forwards.get_or_insert_default();
            }
            ("forward", DeValue::Array(list)) => {
                let ports = |port: &Spanned<DeValue<'_>>| Forward::parse(port.get_ref().as_str()?);
                forwards = Some(list.iter().map(ports).collect::<Option<_>>()?);
            }
            ("switch", DeValue::String(name)) => switch = Some(name.as_ref()),
            _ => return None,
        }
    }
    match (forwards, switch) {
        (None, Some(name)) if check_name(name).is_ok() => Some(Net::Switch(name.to_owned())),
        (Some(forwards), None) => Some(Net::User(forwards)),
        _ => None,
    }
}

pub(super) fn reboot(value: &Spanned<DeValue<'_>>) -> Result<OnReboot, &'static str> {
    value
        .get_ref()
        .as_str()
        .and_then(OnReboot::from_word)
        .ok_or("\"restart\" or \"stop\"")
}

pub(super) fn el2(value: &Spanned<DeValue<'_>>) -> Result<El2, &'static str> {
    value
        .get_ref()
        .as_str()
        .and_then(El2::from_word)
        .ok_or("\"vhe\", \"nvhe\" or \"none\"")
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
