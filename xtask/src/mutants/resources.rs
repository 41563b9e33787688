//! The mutants of `droste-resources`, but for its console: each lets a guest have more of the machine than its share, or
//! has it told wrong.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    // Alarms of clocks.
    mutant(
        "alarm-forgets-clocks",
        "alarm.rs",
        "            [&self.due, &self.loaded_due, &self.clock_due].map",
        "            [&self.due, &self.loaded_due].map",
    ),
    mutant(
        "alarm-of-the-last-clock-alone",
        "alarm.rs",
        "        if deadline >= self.clock_due.load(Ordering::Relaxed) {\n            return None;\n        }\n",
        "",
    ),
    mutant(
        "alarm-of-a-clock-never-taken",
        "alarm.rs",
        "        if is_due {\n            self.clock_due",
        "        if is_due && due == 0 {\n            self.clock_due",
    ),
    mutant(
        "alarm-of-a-clock-too-early",
        "alarm.rs",
        "due != NEVER && due <= now()",
        "due != NEVER && (due <= now() || true)",
    ),
    // Randomness.
    mutant(
        "entropy-is-drawn-twice",
        "entropy.rs",
        "        let mut stream = ChaCha20Rng::from_seed(self.key);\n        stream.fill_bytes(&mut self.key);",
        "        let mut stream = ChaCha20Rng::from_seed(self.key);\n        stream.fill_bytes(&mut [0; KEY_BYTES]);",
    ),
    mutant(
        "entropy-gives-its-key-away",
        "entropy.rs",
        "        stream.fill_bytes(bytes);",
        "        bytes.iter_mut().zip(self.key).for_each(|(byte, key)| *byte = key);",
    ),
    mutant(
        "entropy-of-the-last-bytes-alone",
        "entropy.rs",
        "            .for_each(|(key, byte)| *key ^= byte);",
        "            .for_each(|(key, byte)| *key = *byte);",
    ),
    mutant(
        "entropy-in-any-order",
        "entropy.rs",
        "        self.fill(&mut []);\n",
        "",
    ),
    mutant(
        "entropy-of-the-first-source-alone",
        "entropy.rs",
        "sources.iter().flat_map(|source| source.chunks(KEY_BYTES))",
        "sources.iter().take(1).flat_map(|source| source.chunks(KEY_BYTES))",
    ),
    mutant(
        "entropy-of-too-little",
        "entropy.rs",
        "        if bytes < LEAST_BYTES {",
        "        if bytes == 0 {",
    ),
    // RAM.
    mutant(
        "ram-gives-the-same-twice",
        "ram.rs",
        "        self.remove(&found);
        Some(found)",
        "        Some(found)",
    ),
    mutant(
        "ram-counts-what-overlaps-twice",
        "ram.rs",
        "            let touches = next.start <= range.end;",
        "            let touches = next.start == range.end;",
    ),
    mutant(
        "ram-leaves-what-touches-apart",
        "ram.rs",
        "            let touches = next.start <= range.end;",
        "            let touches = next.start < range.end;",
    ),
    mutant(
        "ram-shrinks-to-what-it-holds",
        "ram.rs",
        "                range.end = range.end.max(next.end);",
        "                range.end = next.end;",
    ),
    mutant(
        "ram-is-split-by-nothing",
        "ram.rs",
        "        if taken.is_empty() {
            return;
        }
",
        "",
    ),
    mutant(
        "ram-wraps-round",
        "ram.rs",
        "            let end = start.checked_add(bytes)?;",
        "            let end = start.wrapping_add(bytes);",
    ),
    mutant(
        "ram-is-not-aligned",
        "ram.rs",
        "            let start = range.start.max(from).checked_next_multiple_of(align)?;",
        "            let start = range.start.next_multiple_of(align).max(from);",
    ),
    mutant(
        "ram-ends-beyond-its-end",
        "ram.rs",
        "            (end <= range.end).then_some(start..end)",
        "            (start < range.end).then_some(start..end)",
    ),
    // Time.
    mutant(
        "alarm-slice-without-an-end",
        "alarm.rs",
        "        self.set(wakes.into_iter().chain([end]))",
        "        self.set(wakes.into_iter().chain([end]).take(2))",
    ),
    mutant(
        "alarm-slice-ends-late",
        "alarm.rs",
        "        now >= self.slice_end.load(Ordering::Relaxed)",
        "        now > self.slice_end.load(Ordering::Relaxed)",
    ),
    mutant(
        "alarm-slice-cannot-be-given-up",
        "alarm.rs",
        "        self.slice_end.store(0, Ordering::Relaxed);",
        "        self.slice_end.fetch_add(0, Ordering::Relaxed);",
    ),
    mutant(
        "alarm-forgets-the-loaded-timers",
        "alarm.rs",
        "            [&self.due, &self.loaded_due, &self.clock_due].map",
        "            [&self.due, &self.due, &self.clock_due].map",
    ),
    mutant(
        "alarm-keeps-the-timers-of-who-left",
        "alarm.rs",
        "        self.loaded_due.store(NEVER, Ordering::Relaxed);
    }",
        "        self.loaded_due.fetch_add(0, Ordering::Relaxed);
    }",
    ),
    mutant(
        "alarm-is-set-without-a-change",
        "alarm.rs",
        "        (before != deadline).then(|| {",
        "        (before <= deadline).then(|| {",
    ),
    mutant(
        "alarm-never-is-a-time",
        "alarm.rs",
        "        dues.into_iter().min().filter(|due| *due != NEVER)",
        "        dues.into_iter().min()",
    ),
    // How often.
    mutant(
        "complaints-without-a-limit",
        "complaints.rs",
        "        let is_shown = self.count.fetch_add(1, Ordering::Relaxed) < MAX;",
        "        let is_shown = self.count.fetch_add(1, Ordering::Relaxed) < u32::MAX;",
    ),
    mutant(
        "complaints-end-for-ever",
        "complaints.rs",
        "            self.count.store(0, Ordering::Relaxed);\n",
        "",
    ),
    mutant(
        "complaints-begin-anew-each-time",
        "complaints.rs",
        "            self.since.store(now, Ordering::Relaxed);\n",
        "",
    ),
    mutant(
        "complaints-are-forgotten",
        "complaints.rs",
        "        if !is_shown {
            self.hide(1);
        }
",
        "",
    ),
    mutant(
        "complaints-are-told-twice",
        "complaints.rs",
        "            self.hidden.swap(0, Ordering::Relaxed)",
        "            self.hidden.load(Ordering::Relaxed)",
    ),
    mutant(
        "budget-is-full-after-one",
        "budget.rs",
        "                self.left += back as u32;",
        "                self.left = if back > 0 { self.most } else { self.left };",
    ),
    mutant(
        "budget-loses-what-has-passed",
        "budget.rs",
        "                self.since += back * self.interval;",
        "                self.since = now;",
    ),
    mutant(
        "budget-saves-up",
        "budget.rs",
        "            if back >= missing {",
        "            if back > u64::MAX - missing {",
    ),
    // The report.
    mutant(
        "report-ends-well-if-the-last-does",
        "report.rs",
        "        if run_states.all(|state| state == RunState::Off) {",
        "        if run_states.last() == Some(RunState::Off) {",
    ),
    mutant(
        "report-is-always-final",
        "report.rs",
        "(machine.moment == Moment::Final, ",
        "(machine.moment as u8 <= Moment::Final as u8, ",
    ),
    mutant(
        "report-does-not-escape",
        "report.rs",
        "                    '\"' | '\\\\' => write!(self.0, \"\\\\{c}\"),\n",
        "",
    ),
    mutant(
        "report-breaks-its-line",
        "report.rs",
        "                    c if c.is_control() => self.0.write_char(' '),\n",
        "",
    ),
    mutant(
        "report-counts-the-first-alone",
        "exits.rs",
        "                *count += counter.load(Ordering::Relaxed);",
        "                *count = counter.load(Ordering::Relaxed);",
    ),
    mutant(
        "report-confuses-two-exits",
        "exits.rs",
        "    (Exit::Forwarded, \"forwarded\"),",
        "    (Exit::Return, \"forwarded\"),",
    ),
];
