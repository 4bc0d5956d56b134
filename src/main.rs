//! temporary
#![allow(clippy::all, clippy::pedantic, clippy::print_stdout, clippy::exit)]
use redisdoc::model::*;
fn main() {
    let mut ask = Ask::default();
    let mut pw = None;
    let mut json = false;
    let mut host = "127.0.0.1".to_string();
    let mut port = 6379;
    let mut a = std::env::args().skip(1);
    while let Some(x) = a.next() {
        match x.as_str() {
            "check" => {}
            "-h" => host = a.next().unwrap(),
            "-p" => port = a.next().unwrap().parse().unwrap(),
            "-a" => {
                ask.target.password = true;
                pw = Some(Secret::new(a.next().unwrap()))
            }
            "--user" => ask.target.user = a.next(),
            "-n" => ask.target.db = a.next().unwrap().parse().unwrap(),
            "-t" => ask.timeout_ms = (a.next().unwrap().parse::<f64>().unwrap() * 1000.) as u64,
            "--json" => json = true,
            "-3" => ask.target.resp3 = true,
            "--key" => ask.target.key = a.next(),
            "--require" => {
                ask.require = match a.next().unwrap().as_str() {
                    "reachable" => Level::Reachable,
                    "authenticated" => Level::Authenticated,
                    "writable" => Level::Writable,
                    _ => Level::Ready,
                }
            }
            "-s" => {
                host = String::new();
                ask.target.endpoint = Endpoint::Unix { path: a.next().unwrap() }
            }
            _ => panic!("{x}"),
        }
    }
    if !host.is_empty() {
        ask.target.endpoint = Endpoint::Tcp { host, port };
    }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let facts = rt.block_on(redisdoc::command::check::gather(ask, pw.as_ref()));
    let r = redisdoc::command::check::diagnose(&facts);
    redisdoc::render::paint::decide(false);
    print!(
        "{}",
        if json { redisdoc::render::json::render(&r) } else { redisdoc::render::human::render(&r, Default::default()) }
    );
    std::process::exit(r.exit_code as i32);
}
