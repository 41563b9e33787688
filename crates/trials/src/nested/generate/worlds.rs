//! Makes up the worlds of nested programs.

use droste_arm64::PaRange;

use crate::choices::Choices;
use crate::nested::layout::{SHAPES, TableShape};
use crate::nested::world::{Space, Updates, World};
use crate::stage2::world::{Feature, World as Machine};

/// Any machine, L1 and guests of it.
pub(super) fn world(choices: &mut Choices<'_>) -> World {
    let machine_wide = Feature::ALL
        .iter()
        .map(|&(feature, _)| feature)
        .filter(|feature| !matches!(feature, Feature::Lpa2));
    let mut features: Vec<Feature> = machine_wide.collect();
    let shown = features
        .clone()
        .into_iter()
        .filter(|feature| *feature != Feature::Stage1 && choices.once_in(2))
        .collect();
    features.retain(|feature| choices.once_in(if *feature == Feature::Caches { 4 } else { 2 }));
    let cpus = choices.pick(&[2, 1, 2, 3]);
    let shape = choices.pick(&SHAPES);
    let tables: Vec<TableShape> = match choices.below(4) {
        0 => vec![shape],
        1 => vec![shape, choices.pick(&SHAPES)],
        _ => vec![shape, shape],
    };
    let updates = choices.pick(&[Updates::Nothing, Updates::AccessFlag, Updates::Dirty]);
    let spaces = (0..=choices.below(4))
        .map(|number| Space {
            vmid: choices.pick(&[1, 2, 1, 0x101]),
            table: (number == 0 || !choices.once_in(5)).then(|| choices.below(2) as u8),
            updates: choices.pick(&[
                updates,
                updates,
                Updates::Nothing,
                Updates::AccessFlag,
                Updates::Dirty,
            ]),
        })
        .collect();
    World {
        machine: Machine {
            cpus,
            bbm: choices.below(3) as u8,
            pa: PaRange::Bits48,
            features,
            seed: choices.word(),
            vms: Vec::new(),
        },
        shown,
        pages: choices.pick(&[24, 4, 6, 10, 60]),
        places: cpus + choices.below(3) as u8,
        records: choices.pick(&[64, 1, 3, 12]),
        tables,
        spaces,
    }
}
