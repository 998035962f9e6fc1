//! Run by hand: `cargo test --release --test bench_exec -- --ignored --nocapture`.

mod support;

use boxinit::frame;
use std::time::Instant;
use support::{unique, Agent};

#[test]
#[ignore]
fn round_trip() {
    let program = env!("CARGO_BIN_EXE_millibox-true");
    let mut agent = Agent::start();
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    let mut serve = std::process::Command::new(env!("CARGO_BIN_EXE_spawn-loop"))
        .args(["--serve", program])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("spawn-loop");
    let mut ask = serve.stdin.take().expect("stdin");
    let mut answers = std::io::BufRead::lines(std::io::BufReader::new(serve.stdout.take().expect("stdout")));
    for _ in 0..2000 {
        let request = format!(
            r#"{{"op":"exec","id":"{}","argv":["{}"],"env":{{"PATH":"/bin","HOME":"/"}},"cwd":"/","stdin":false,"killGraceMs":1,"ringBytes":1048576,"detachedMs":1}}"#,
            unique("b"),
            program
        );
        let start = Instant::now();
        let stream = agent.open(&request);
        loop {
            let (header, _) = agent.next();
            if header.kind == frame::FIN {
                break;
            }
        }
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        agent.fin(stream, frame::ALL);
        std::io::Write::write_all(&mut ask, b"\n").expect("ask");
        bare.push(answers.next().expect("answer").expect("line").parse::<f64>().expect("number"));
    }
    drop(ask);
    let _ = serve.wait();
    for list in [&mut ours, &mut bare] {
        list.sort_by(|a, b| a.partial_cmp(b).expect("number"));
    }
    let at = |list: &[f64], q: f64| list[(list.len() as f64 * q) as usize];
    println!("boxinit p50 {:.3} p99 {:.3}", at(&ours, 0.5), at(&ours, 0.99));
    println!("bare    p50 {:.3} p99 {:.3}", at(&bare, 0.5), at(&bare, 0.99));
    println!("ratio   p50 {:.3}", at(&ours, 0.5) / at(&bare, 0.5));
}

#[test]
#[ignore]
fn throughput() {
    let mut agent = Agent::start();
    let request = format!(
        r#"{{"op":"exec","id":"{}","argv":["{}","1073741824"],"env":{{"PATH":"/bin","HOME":"/"}},"cwd":"/","stdin":false,"killGraceMs":1,"ringBytes":1048576,"detachedMs":1}}"#,
        unique("b"),
        env!("CARGO_BIN_EXE_flood")
    );
    let start = Instant::now();
    let stream = agent.open(&request);
    let mut total = 0;
    let mut owed = 0;
    agent.auto_credit = false;
    loop {
        let (header, payload) = agent.next();
        if header.kind == frame::DATA {
            total += payload.len();
            owed += payload.len() as u32;
            if owed > 100_000 {
                agent.credit(0, owed);
                agent.credit(stream, owed);
                owed = 0;
            }
        }
        if header.kind == frame::FIN {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{} bytes, {:.0} MB/s", total, total as f64 / 1e6 / seconds);
}
