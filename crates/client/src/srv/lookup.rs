//! One lookup of SRV records, by a library that knows them: the system's resolver gives addresses only.
//!
//! The system's configuration is read again for each, and nothing is cached, so that a process that runs for months
//! learns of a new name server, and an answer is never older than it says.

use std::net::SocketAddr;

use gk_proto::Millis;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData};

use super::SrvRecord;

/// The SRV records of the name, or why there are none. `dns_server` is asked in place of the system's name servers.
pub(super) async fn look_up(name: &str, dns_server: Option<SocketAddr>) -> Result<Vec<SrvRecord>, String> {
    let resolver = resolver(dns_server).map_err(|error| describe(&error))?;
    let name = Name::from_ascii(name).map_err(|error| error.to_string())?;
    let found = resolver.srv_lookup(name).await.map_err(|error| describe(&error))?;
    let records = found.answers().iter().filter_map(|record| {
        // A name that stands for another comes with records that say so, which are not servers.
        let RData::SRV(srv) = &record.data else { return None };
        let time_to_live = Millis(u64::from(record.ttl) * 1_000);
        Some(SrvRecord { target: srv.target.to_ascii(), port: srv.port, time_to_live })
    });
    Ok(records.collect())
}

fn resolver(dns_server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match dns_server {
        Some(address) => {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio()?,
    };
    // That file has addresses only.
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// Why a lookup failed, in the words of somebody who sets up names.
fn describe(error: &NetError) -> String {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        return format!("there is no SRV record of that name ({})", none.response_code);
    }
    error.to_string()
}
