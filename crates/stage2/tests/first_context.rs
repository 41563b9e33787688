//! The first context that a process makes counts like any other. It has a process of its own: no other test may make one
//! before it.

use droste_arm64::{Granule, Ipa, IpaBits, Pa};
use droste_stage2::{
    Attributes, Context, Contexts, Geometry, Mapping, Table, VcpuId, VmidAllocator,
};

use hardware::plain;
use recorder::{Pool, Recorder};

#[path = "stage2/hardware.rs"]
#[expect(
    dead_code,
    reason = "shared with the other tests, of which this is one"
)]
mod hardware;
#[path = "stage2/recorder.rs"]
#[expect(
    dead_code,
    reason = "shared with the other tests, of which this is one"
)]
mod recorder;

#[test]
#[should_panic(expected = "some context of the table is missing")]
fn a_discharge_that_forgets_the_first_context_is_stopped() {
    let recorder = Recorder::new(Granule::Kib4);
    let bits = IpaBits::new(40).expect("32 to 52");
    let geometry = Geometry::new(Granule::Kib4, bits, &plain()).expect("the machine has it");
    let mut table = Table::new(&recorder, Pa(0x1000_0000), geometry, &plain()).expect("aligned");
    let mut pool = Pool::new(&recorder, 8);
    let vmids = VmidAllocator::<4>::new();
    let context = Context::<4>::new(&mut table);
    context.enter(&recorder, &vmids, 0, VcpuId(0));
    let everybody = Contexts {
        vmids: &vmids,
        all: &[&context],
        smmus: &[],
    };
    let page = Mapping::new(Ipa(0), Pa(0x8000_0000), 0x1000, Attributes::RAM);
    let owed = table.map(&recorder, &mut pool, &page);
    let mapped = owed.discharge(&recorder, &mut pool, &everybody);
    mapped.expect("there are pages");
    let nobody = Contexts {
        vmids: &vmids,
        all: &[],
        smmus: &[],
    };
    let owed = table.unmap(&recorder, &mut pool, Ipa(0), 0x1000);
    let forgotten = owed.discharge(&recorder, &mut pool, &nobody);
    forgotten.expect("it is not to come here");
}
