//! Hosts joined by links: who is where, and what the network between them does.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Host, Lab, Ran};

#[expect(clippy::unused_self, reason = "hosts can be had only inside a lab")]
impl Lab {
    /// A host alone, with nothing but loopback.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        Host::start(name)
    }

    /// Several such hosts, started side by side.
    ///
    /// # Panics
    /// When one does not come up.
    #[must_use]
    pub fn hosts<const N: usize>(&self, names: [&str; N]) -> [Host; N] {
        std::thread::scope(|scope| {
            names.map(|name| scope.spawn(|| Host::start(name))).map(|starting| starting.join().expect("the host"))
        })
    }

    /// Two hosts on one link: client 10.77.1.1, `fd77:1::1` – server 10.77.1.2, `fd77:1::2`; `eth0` on both.
    #[must_use]
    pub fn pair(&self) -> (Host, Host) {
        let [client, server] = self.hosts(["client", "server"]);
        self.link((&client, "eth0"), (&server, "eth0"));
        client.interface("eth0", &["10.77.1.1/24", "fd77:1::1/64"]);
        server.interface("eth0", &["10.77.1.2/24", "fd77:1::2/64"]);
        (client, server)
    }

    /// Two hosts and the router between them: client 10.77.1.1, `fd77:1::1` – `eth0` 10.77.1.254, `fd77:1::fe`, router,
    /// `eth1` 10.77.2.254, `fd77:2::fe` – server 10.77.2.2, `fd77:2::2`. Every host calls its first interface `eth0`.
    #[must_use]
    pub fn routed(&self) -> (Host, Host, Host) {
        let [client, router, server] = self.hosts(["client", "router", "server"]);
        self.link((&client, "eth0"), (&router, "eth0"));
        self.link((&server, "eth0"), (&router, "eth1"));
        router.sysctl("net.ipv4.ip_forward", "1").sysctl("net.ipv6.conf.all.forwarding", "1");
        router.interface("eth0", &["10.77.1.254/24", "fd77:1::fe/64"]);
        router.interface("eth1", &["10.77.2.254/24", "fd77:2::fe/64"]);
        client.interface("eth0", &["10.77.1.1/24", "fd77:1::1/64"]).gateways("10.77.1.254", "fd77:1::fe");
        server.interface("eth0", &["10.77.2.2/24", "fd77:2::2/64"]).gateways("10.77.2.254", "fd77:2::fe");
        (client, router, server)
    }

    /// A cable between two hosts, with an interface that is up at either end; `Host::interface` gives one its addresses.
    ///
    /// # Panics
    /// When a name is taken.
    pub fn link(&self, (one, eth_one): (&Host, &str), (two, eth_two): (&Host, &str)) {
        let (pid_one, pid_two) = (one.pid().to_string(), two.pid().to_string());
        let cable = ["link", "add", "name", eth_one, "up", "netns", &pid_one, "type", "veth"];
        let done = Command::new("ip")
            .args(cable)
            .args(["peer", "name", eth_two, "netns", &pid_two])
            .stdin(Stdio::null())
            .output()
            .expect("ip");
        assert!(done.status.success(), "a link: {}", String::from_utf8_lossy(&done.stderr));
        let _ = two.ip(&format!("link set {eth_two} up"));
        one.carrier(eth_one);
    }
}

impl Host {
    /// Waits until the kernel has noticed that the interface that was brought up first has a link, some milliseconds.
    ///
    /// That end stays without a queue until a deferred job of the kernel runs, and loses what is sent until then: an ARP
    /// request, so that the first packet of a test took a second (5 runs of 10). The other end can send at once, though its
    /// `operstate` may say otherwise for up to a second, for the job runs once a second when nothing is urgent.
    fn carrier(&self, name: &str) {
        let file = format!("/sys/class/net/{name}/operstate");
        let begun = Instant::now();
        while self.read(&file).trim() != "up" {
            assert!(begun.elapsed() < Duration::from_secs(5), "{} {name} has no carrier", self.name());
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Gives an interface these addresses, usable at once.
    #[track_caller]
    pub fn interface(&self, name: &str, addresses: &[&str]) -> &Self {
        let add = |address: &&str| {
            let now = if address.contains(':') { "nodad" } else { "" };
            format!("addr add {address} dev {name} {now}")
        };
        let addresses: Vec<String> = addresses.iter().map(add).collect();
        self.batch(&["-batch", "-"], &addresses.join("\n"))
    }

    /// Default routes for both families.
    #[track_caller]
    pub fn gateways(&self, v4: &str, v6: &str) -> &Self {
        self.batch(&["-batch", "-"], &format!("route add default via {v4}"));
        self.batch(&["-6", "-batch", "-"], &format!("route add default via {v6}"))
    }

    /// One `ip` command, as in `host.ip("link set eth0 mtu 1280")`.
    #[track_caller]
    pub fn ip(&self, command: &str) -> Ran {
        let argv: Vec<&str> = std::iter::once("ip").chain(command.split_whitespace()).collect();
        self.run(&argv).ok()
    }

    /// Firewall rules in nft's own language, any number of lines or semicolons.
    #[track_caller]
    pub fn nft(&self, rules: &str) -> &Self {
        let _ = self.command(&["nft", "-f", "-"]).stdin(format!("{rules}\n")).run().ok();
        self
    }

    /// Many commands for the price of one process.
    #[track_caller]
    fn batch(&self, options: &[&str], commands: &str) -> &Self {
        let line: Vec<&str> = std::iter::once("ip").chain(options.iter().copied()).collect();
        let _ = self.command(&line).stdin(format!("{commands}\n")).run().ok();
        self
    }
}
