//! Plays each committed input, and inputs made from it with seeded randomness.
//!
//! This is the short form of fuzzing, without coverage. The long form is `cargo xtask fuzz`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use countersign_fuzz::{TARGETS, Target};

/// The inputs that are made from each committed one.
/// `COUNTERSIGN_TEST_INPUTS` sets another number.
const CHANGED: u64 = 40;

/// Pseudorandom numbers from a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % end.max(1)
    }

    fn part<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let from = self.below(of.len());
        &of[from..][..self.below(of.len() - from + 1)]
    }

    /// Changes an input in one to four places. `others` is the corpus that the input is from.
    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.below(256) as u8,
                2 => input.truncate(at),
                3 => drop(input.splice(at..at, [self.below(256) as u8])),
                4 => drop(input.drain(at..at + self.below(input.len() - at + 1))),
                _ => {
                    let other = &others[self.below(others.len())];
                    let part = self.part(other).to_vec();
                    let end = at + self.below(input.len() - at + 1);
                    drop(input.splice(at..end, part));
                }
            }
        }
    }
}

/// The committed inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = root.join("fuzz/corpus").join(target);
    let files = fs::read_dir(directory).expect("each target has a corpus");
    let mut files: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

/// Plays an input. A panic is a finding: the input is written down, so that it can be played again.
fn play((name, function): Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(input))) {
        let file = std::env::temp_dir().join(format!("countersign-fuzz-{name}"));
        fs::write(&file, input).expect("it can be written");
        eprintln!("the input of the target `{name}` is in {}", file.display());
        std::panic::resume_unwind(panic);
    }
}

fn play_corpora(targets: &[Target]) {
    let changed = std::env::var("COUNTERSIGN_TEST_INPUTS").ok();
    let changed = changed.map_or(CHANGED, |text| text.parse().expect("it is a number"));
    for target in targets {
        let corpus = corpus(target.0);
        assert!(!corpus.is_empty(), "the target `{}` has no corpus", target.0);
        for (number, input) in corpus.iter().enumerate() {
            play(*target, input);
            let mut random = Random(number as u64);
            for _ in 0..changed {
                let mut input = input.clone();
                random.change(&mut input, &corpus);
                play(*target, &input);
            }
        }
    }
}

// Two halves, which run side by side.

#[test]
fn inputs_of_the_first_targets_hold_what_is_asserted_of_them() {
    play_corpora(&TARGETS[..TARGETS.len() / 2]);
}

#[test]
fn inputs_of_the_last_targets_hold_what_is_asserted_of_them() {
    play_corpora(&TARGETS[TARGETS.len() / 2..]);
}

#[test]
fn each_program_of_libfuzzer_plays_a_target_of_the_same_name() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let files = fs::read_dir(programs).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> = files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let program = fs::read_to_string(&file).unwrap();
            assert!(program.contains(&format!("countersign_fuzz::{name}(")), "{program}");
            name
        })
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}
