//! What the children write.

use heald_keeper::protocol::Log;

use crate::rig::{TestRig, until};

#[test]
fn no_byte_is_lost_when_the_runtime_dies_and_the_file_is_rotated() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("web", "seq 1 200000; seq 200001 300000 >&2; echo end");
    request.log = Some(Log { path: rig.log("web"), max_bytes: 100_000, keep: 100 });
    runtime.spawn(request).unwrap();
    for _ in 0..5 {
        runtime.die();
        runtime = rig.attached().0;
    }
    let file = |number: u32| match number {
        0 => rig.log("web"),
        _ => rig.log(&format!("web.{number}")),
    };
    until("all is written", || {
        (0..2).any(|number| std::fs::read_to_string(file(number)).is_ok_and(|text| text.ends_with("end\n")))
    });
    let mut text = String::new();
    for number in (0..100).rev() {
        text.push_str(&std::fs::read_to_string(file(number)).unwrap_or_default());
    }
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).chain(["end\n".to_owned()]).collect();
    assert!(text == expected, "{} bytes instead of {}", text.len(), expected.len());
    assert!(file(5).metadata().unwrap().len() < 110_000);
}

#[test]
fn the_last_words_of_one_come_before_the_first_of_the_next() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut expected = String::new();
    for number in 0..30 {
        let mut request = rig.script("web", &format!("seq 1 3000; echo end {number}"));
        request.spawn = rig.spawn_id(&number.to_string());
        runtime.spawn(request).unwrap();
        runtime.exit();
        expected.extend((1..=3000).map(|line| format!("{line}\n")));
        expected.push_str(&format!("end {number}\n"));
    }
    until("all is written", || std::fs::read_to_string(rig.log("web")).unwrap().ends_with("end 29\n"));
    assert!(std::fs::read_to_string(rig.log("web")).unwrap() == expected);
}

#[test]
fn a_log_that_cannot_be_written_costs_the_child_nothing_and_is_said() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("web", "seq 1 100000; exit 3");
    request.log = Some(Log { path: "/proc/no/such/place/web.log".into(), max_bytes: 1000, keep: 1 });
    runtime.spawn(request).unwrap();
    let mut notice = String::new();
    let mut ended = false;
    while !ended || notice.is_empty() {
        match runtime.receive().unwrap() {
            heald_keeper::protocol::KeeperMessage::Exited(exit) => {
                assert_eq!(exit.end, heald_keeper::protocol::End::Code(3));
                ended = true;
            }
            heald_keeper::protocol::KeeperMessage::Notice { text } => notice = text,
            other => panic!("{other:?}"),
        }
    }
    assert!(notice.contains("/proc/no/such/place/web.log"), "{notice}");
}
