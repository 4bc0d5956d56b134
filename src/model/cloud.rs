//! Providers of managed Redis, told by the suffix of a name: who they are, and what lets a client in there.
//!
//! Google's Memorystore (an IP address, no name) and Heroku (names of EC2) cannot be told by a name, nor can names that a
//! provider gives to its customers' own machines.

use std::net::IpAddr;

/// A provider's service.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: &'static str,
    /// The ends of its names; `*` stands for one label.
    suffixes: &'static [&'static str],
    /// What lets a client in, in the provider's own words; `{client}` and `{port}` stand for ours.
    pub lets_in: &'static str,
    /// True if it has no address outside the customer's own private network.
    pub inside_only: bool,
    /// The port, and whether it speaks TLS, where that is the provider's choice.
    pub port: Option<&'static str>,
}

/// Every provider we know by its names.
pub static PROVIDERS: &[Provider] = &[
    // docs.aws.amazon.com/AmazonElastiCache/latest/dg/elasticache-vpc-accessing.html: never from outside the VPC, but for
    // a VPN, peering or a NAT instance; its security group decides.
    Provider {
        name: "Amazon ElastiCache",
        suffixes: &["cache.amazonaws.com", "cache.amazonaws.com.cn"],
        lets_in: "add an inbound rule to the cache's VPC security group: custom TCP, port {port}, source {client} or the \
                  security group of that machine",
        inside_only: true,
        port: None,
    },
    // docs.aws.amazon.com/memorydb/latest/devguide/memorydb-vpc-accessing.html: always in a VPC.
    Provider {
        name: "Amazon MemoryDB",
        suffixes: &["memorydb.*.amazonaws.com", "memorydb.*.amazonaws.com.cn"],
        lets_in: "add an inbound rule to the cluster's VPC security group: custom TCP, port {port}, source {client} or the \
                  security group of that machine",
        inside_only: true,
        port: None,
    },
    // learn.microsoft.com/azure/azure-cache-for-redis/cache-configure: Firewall, Private Endpoint, Access ports.
    Provider {
        name: "Azure Cache for Redis",
        suffixes: &["redis.cache.windows.net"],
        lets_in: "add a firewall rule with {client} to the cache (Settings > Firewall); where public network access is \
                  disabled, connect from the virtual network of its private endpoint",
        inside_only: false,
        port: Some("6380 with TLS; 6379 is off unless the non-TLS port was enabled"),
    },
    // learn.microsoft.com/azure/redis (hostname NAME.REGION.redis.azure.net, port 10000).
    Provider {
        name: "Azure Managed Redis",
        suffixes: &["redis.azure.net", "redisenterprise.cache.azure.net"],
        lets_in: "enable public network access of the cache, or connect from the virtual network of its private endpoint",
        inside_only: false,
        port: Some("10000"),
    },
    // docs.digitalocean.com/products/databases/valkey/how-to/secure: Trusted Sources.
    Provider {
        name: "DigitalOcean Managed Caching",
        suffixes: &["db.ondigitalocean.com"],
        lets_in: "add {client} to the database cluster's trusted sources (Network Access); names that begin with \
                  'private-' answer only inside the cluster's VPC network",
        inside_only: false,
        port: Some("25061 with TLS"),
    },
    // support.redislabs.com, "TLS, ACLs, and IP Access Setup": CIDR allow list, or private connectivity.
    Provider {
        name: "Redis Cloud",
        suffixes: &["redis-cloud.com", "redislabs.com", "rlrcp.com"],
        lets_in: "add {client} to the database's CIDR allow list; names with 'internal' answer only over VPC peering or \
                  private link",
        inside_only: false,
        port: None,
    },
    // upstash.com/docs/redis/features/security: IP allowlist; TLS.
    Provider {
        name: "Upstash",
        suffixes: &["upstash.io"],
        lets_in: "add {client} to the database's IP allowlist; names that begin with 'fly-' answer only inside Fly.io's \
                  private network",
        inside_only: false,
        port: None,
    },
    // aiven.io/docs/platform/howto/restrict-access: Allowed IP addresses.
    Provider {
        name: "Aiven",
        suffixes: &["aivencloud.com"],
        lets_in: "add {client} to the service's allowed IP addresses (IP filter), and see that the service is powered on",
        inside_only: false,
        port: None,
    },
    // render.com/docs/inbound-ip-rules and the Key Value page: external connections are off until a source is added.
    Provider {
        name: "Render Key Value",
        suffixes: &["render.com"],
        lets_in: "add {client} to the instance's inbound IP rules (access control): external connections are off until \
                  there is one; inside Render use the internal URL",
        inside_only: false,
        port: None,
    },
    // docs.railway.com/private-networking: not reachable over the public internet, nor from another project.
    Provider {
        name: "Railway's private network",
        suffixes: &["railway.internal"],
        lets_in: "use the service's TCP proxy (REDIS_PUBLIC_URL), or run the client in the same project and environment",
        inside_only: true,
        port: None,
    },
    // docs.railway.com/reference/tcp-proxy: each proxy has a port of its own.
    Provider {
        name: "Railway's TCP proxy",
        suffixes: &["proxy.rlwy.net"],
        lets_in: "see that the service's TCP proxy is still there and has port {port}: it admits every source",
        inside_only: false,
        port: Some("the one that the TCP proxy was given, never 6379"),
    },
    // help.ovhcloud.com, Public Cloud Databases: Authorised IPs.
    Provider {
        name: "OVHcloud Public Cloud Databases",
        suffixes: &["database.cloud.ovh.net"],
        lets_in: "add {client} to the service's authorised IPs: no source is authorised at first",
        inside_only: false,
        port: None,
    },
    // cloud.ibm.com/docs/cloud-databases?topic=cloud-databases-cbr: context-based restrictions.
    Provider {
        name: "IBM Cloud Databases",
        suffixes: &["databases.appdomain.cloud"],
        lets_in: "allow {client} in the deployment's context-based restrictions or allowlist; names with 'private' answer \
                  only inside IBM Cloud's private network",
        inside_only: false,
        port: None,
    },
    // alibabacloud.com/help/en/redis/user-guide/configure-whitelists: access is denied by default.
    Provider {
        name: "Alibaba Cloud Tair (Redis)",
        suffixes: &["redis.rds.aliyuncs.com"],
        lets_in: "add {client} to an IP whitelist of the instance (Whitelist Settings): every source is denied at first; \
                  from outside its VPC the instance needs a public endpoint",
        inside_only: false,
        port: None,
    },
];

impl Provider {
    /// What lets `client` in at `port`.
    pub fn lets_in(&self, client: &str, port: u16) -> String {
        self.lets_in.replace("{client}", client).replace("{port}", &port.to_string())
    }

    fn has(&self, name: &str) -> bool {
        self.suffixes.iter().any(|suffix| ends_with(name, suffix))
    }
}

/// The provider whose service this name is.
pub fn provider(name: &str) -> Option<&'static Provider> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    PROVIDERS.iter().find(|provider| provider.has(&name))
}

/// True if `name` ends with these labels and has one more before them.
fn ends_with(name: &str, suffix: &str) -> bool {
    let mut labels = name.rsplit('.');
    suffix.rsplit('.').all(|wanted| labels.next().is_some_and(|label| wanted == "*" || wanted == label))
        && labels.next().is_some_and(|label| !label.is_empty())
}

/// True for addresses that the internet does not route: RFC 1918, RFC 6598 (carriers and clouds), RFC 4193.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64),
        IpAddr::V6(ip) => ip.segments()[0] & 0xfe00 == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, want: Option<&str>) {
        assert_eq!(provider(name).map(|provider| provider.name), want, "{name}");
    }

    #[test]
    fn providers_are_told_by_their_names() {
        check("master.cache.x1y2z3.use1.cache.amazonaws.com", Some("Amazon ElastiCache"));
        check("my-cache-x.serverless.use1.cache.amazonaws.com.", Some("Amazon ElastiCache"));
        check("clustercfg.db.x1y2z3.memorydb.eu-west-1.amazonaws.com", Some("Amazon MemoryDB"));
        check("Shop.redis.cache.windows.net", Some("Azure Cache for Redis"));
        check("shop.westeurope.redis.azure.net", Some("Azure Managed Redis"));
        check("db-valkey-fra1-1-do-user-1-0.f.db.ondigitalocean.com", Some("DigitalOcean Managed Caching"));
        check("redis-1.c15.us-east-1-2.ec2.redns.redis-cloud.com", Some("Redis Cloud"));
        check("apt-otter-1.upstash.io", Some("Upstash"));
        check("cache-shop.g.aivencloud.com", Some("Aiven"));
        check("oregon-keyvalue.render.com", Some("Render Key Value"));
        check("redis.railway.internal", Some("Railway's private network"));
        check("autorack.proxy.rlwy.net", Some("Railway's TCP proxy"));
        check("valkey-1-o1.database.cloud.ovh.net", Some("OVHcloud Public Cloud Databases"));
        check("x.y.private.databases.appdomain.cloud", Some("IBM Cloud Databases"));
        check("r-bp1zxszhcgatnx.redis.rds.aliyuncs.com", Some("Alibaba Cloud Tair (Redis)"));
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "db",
            "db.example.com",
            "cache.amazonaws.com",
            "ec2-1-2-3-4.compute-1.amazonaws.com",
            "memorydb.eu-west-1.amazonaws.com",
            "evilupstash.io",
            "upstash.io.example.com",
            "db.compute.internal",
            "shop.onrender.com",
            "10.0.0.9",
            "",
        ] {
            check(name, None);
        }
    }

    #[test]
    fn private_addresses_are_told() {
        let is = |ip: &str| is_private(ip.parse().unwrap());
        assert!(
            ["10.0.0.9", "172.31.5.5", "192.168.1.1", "100.64.0.1", "fd00::9", "::ffff:10.0.0.1"]
                .map(is)
                .iter()
                .all(|is| *is)
        );
        assert!(!["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "fe80::1"].map(is).iter().any(|is| *is));
    }
}
