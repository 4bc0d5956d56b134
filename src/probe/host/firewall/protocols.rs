//! The names of protocols above IP.

/// The number of a protocol, by its name or its number as text (/etc/protocols, and what nft calls it). None of them is
/// looked up on this machine: what is not here is not TCP, and does not matter.
pub fn number(name: &str) -> Option<u64> {
    Some(match name {
        "icmp" => 1,
        "igmp" => 2,
        "ipencap" | "ipip" => 4,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-icmp" | "icmpv6" => 58,
        "ospf" => 89,
        "pim" => 103,
        "comp" | "ipcomp" => 108,
        "vrrp" => 112,
        "l2tp" => 115,
        "sctp" => 132,
        "ipv6-mh" | "mobility-header" | "mh" => 135,
        "udplite" => 136,
        number => number.parse::<u8>().ok()?.into(),
    })
}
