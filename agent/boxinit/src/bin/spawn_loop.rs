//! `spawn-loop [--n N] [--threads K] PROGRAM [ARG…]`: a bare native loop that spawns a program, captures both outputs
//! through pipes and waits for it. The baseline of the benchmarks. Prints one JSON line.
//!
//! `spawn-loop --serve PROGRAM [ARG…]`: one spawn for each line of input, answered by its latency in milliseconds.

use boxinit::exec::spawn::{Program, Spawner};
use boxinit::sys::io::{self, Fd};
use boxinit::sys::process;
use std::ffi::CString;
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::io::IntoRawFd;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

struct Job {
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    null: Fd,
}

impl Job {
    fn new(argv: Vec<CString>) -> Job {
        let env = std::env::vars_os().map(|(name, value)| {
            CString::new([name.into_vec(), value.into_vec()].join(&b'=')).expect("no zero byte in the environment")
        });
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        Job { argv, env: env.collect(), cwd: CString::new(".").expect("."), null: Fd::new(null.into_raw_fd()) }
    }

    /// Spawns once; returns the milliseconds until the exit is known and both outputs were read to EOF.
    fn run(&self, spawner: &mut Spawner, buffer: &mut [u8]) -> f64 {
        let start = Instant::now();
        let (out, their_out) = io::pipe().expect("pipe");
        let (err, their_err) = io::pipe().expect("pipe");
        let program = Program {
            candidates: &self.argv[..1],
            argv: &self.argv,
            env: &self.env,
            cwd: Some(&self.cwd),
            identity: None,
            stdio: [self.null.raw(), their_out.raw(), their_err.raw()],
            extra: None,
            terminal: false,
            tag: u64::MAX,
            descriptor_limit: None,
        };
        let pid = spawner.spawn(&program).unwrap_or_else(|failure| {
            eprintln!("spawn-loop: {:?}", failure);
            std::process::exit(1)
        });
        drop((their_out, their_err));
        for fd in [&out, &err] {
            while matches!(io::read(fd.raw(), buffer), Ok(count) if count > 0) {}
        }
        process::wait_for(pid);
        start.elapsed().as_secs_f64() * 1e3
    }
}

fn measure(job: &Job, n: i64, threads: usize) {
    let left = AtomicI64::new(n);
    let start = Instant::now();
    let mut latencies: Vec<f64> = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut spawner = Spawner::patient();
                    let mut buffer = vec![0; io::CHUNK];
                    let mut latencies = Vec::new();
                    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                        latencies.push(job.run(&mut spawner, &mut buffer));
                    }
                    latencies
                })
            })
            .collect();
        for worker in workers {
            latencies.extend(worker.join().unwrap_or_default());
        }
    });
    let wall = start.elapsed().as_secs_f64() * 1e3;
    let list: Vec<String> = latencies.iter().map(|ms| format!("{:.4}", ms)).collect();
    println!("{{\"latenciesMs\":[{}],\"wallMs\":{:.3}}}", list.join(","), wall);
}

fn serve(job: &Job) {
    let mut spawner = Spawner::patient();
    let mut buffer = vec![0; io::CHUNK];
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        if line.is_err() || writeln!(out, "{:.4}", job.run(&mut spawner, &mut buffer)).and(out.flush()).is_err() {
            return;
        }
    }
}

fn main() {
    boxinit::sys::signal::reset_all();
    let mut n = 1000;
    let mut threads = 1;
    let mut serving = false;
    let mut args = std::env::args_os().skip(1).peekable();
    let mut argv = Vec::new();
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.to_str().and_then(|text| text.parse::<i64>().ok()));
        match arg.to_str() {
            Some("--n") => n = number().unwrap_or(n),
            Some("--threads") => threads = number().unwrap_or(1).clamp(1, 1024),
            Some("--serve") => serving = true,
            _ => {
                let rest = std::iter::once(arg).chain(args.by_ref());
                argv = rest.map(|arg| CString::new(arg.into_vec()).expect("no zero byte in an argument")).collect();
            }
        }
    }
    if argv.is_empty() {
        eprintln!("usage: spawn-loop [--n N] [--threads K] [--serve] PROGRAM [ARG…]");
        std::process::exit(2);
    }
    let job = Job::new(argv);
    if serving {
        serve(&job);
    } else {
        measure(&job, n, threads as usize);
    }
}
