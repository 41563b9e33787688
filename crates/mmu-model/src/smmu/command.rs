//! Commands, by the model's own reading (IHI 0070, 4).

/// What a command ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// Stream table entries from the first to the last.
    Streams(u32, u32),
    /// Translations: of one VMID or of all, of a range or of all addresses, of leaves of one level or of anything.
    Translations {
        vmid: Option<u16>,
        range: Option<(u64, u64)>,
        level: Option<i8>,
    },
}

/// A command, since the step that published it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    pub(super) step: u64,
    /// `None` for a CMD_SYNC.
    pub(super) ends: Option<Ends>,
}

/// What a command ends, `Some(None)` for a CMD_SYNC; `None` for one that the architecture does not know, or whose fields
/// are reserved.
#[expect(
    clippy::option_option,
    reason = "unknown, and known to end nothing, are two things"
)]
pub(super) fn decode(first: u64, second: u64) -> Option<Option<Ends>> {
    let vmid = (first >> 32) as u16;
    let stream = (first >> 32) as u32;
    let all = Ends::Translations {
        vmid: None,
        range: None,
        level: None,
    };
    Some(Some(match first & 0xff {
        0x46 => return Some(None),
        0x03 if second & 1 == 0 => Ends::Streams(stream, stream),
        0x04 if second & 31 == 31 => Ends::Streams(0, u32::MAX),
        0x04 => {
            let mask = (2_u32 << (second & 31)) - 1;
            Ends::Streams(stream & !mask, stream | mask)
        }
        0x20 => Ends::Streams(1, 0),
        0x30 => all,
        0x28 => Ends::Translations {
            vmid: Some(vmid),
            range: None,
            level: None,
        },
        0x2a => {
            let (num, scale) = (first >> 12 & 31, first >> 20 & 31);
            let (ttl, tg) = (second >> 8 & 3, second >> 10 & 3);
            let start = second & 0x000f_ffff_ffff_f000;
            let bytes = match tg {
                0 if (num, scale, ttl) != (0, 0, 0) => return None,
                0 => 1,
                _ if (num, scale, ttl) == (0, 0, 0) => return None,
                _ => ((num + 1) << scale) << (10 + 2 * tg),
            };
            Ends::Translations {
                vmid: Some(vmid),
                range: Some((start, start + bytes)),
                level: (ttl != 0).then_some(ttl as i8),
            }
        }
        _ => return None,
    }))
}
