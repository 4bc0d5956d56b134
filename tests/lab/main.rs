//! Real servers, real firewalls, real kernel: what redisdoc says of hosts that are made for the occasion.

// The rule that only `sys/` touches the machine is redisdoc's: the lab is all machine, and says on stderr how it fared.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]
// Every scenario uses a part of the world, and the world has no other users.
#![allow(dead_code)]

mod alike;
mod anchors;
mod auth;
mod behind;
mod between;
mod careful;
mod certificates;
mod client;
mod conf;
mod counter;
mod dns;
mod endpoints;
mod firewall;
mod firewall_oracle;
mod fronts;
mod groups;
mod harmless;
mod hold;
mod host;
mod hostile;
mod limited;
mod listen;
mod loss;
mod matrix;
mod meant;
mod middle;
mod names;
mod neighbour;
mod network;
mod odd_certificates;
mod ours;
mod passed_on;
mod path;
mod peers;
mod process;
mod proxies;
mod renewals;
mod repairs;
mod reread;
mod resources;
mod rules;
mod secrets;
mod smoke;
mod startup;
mod state;
mod strangers;
mod tcp;
mod ties;
mod tls;
mod tls_limits;
mod tools;
mod unread;
mod unstarted;
mod ways;
mod world;
