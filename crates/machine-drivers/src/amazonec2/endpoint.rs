//! Addresses of Amazon's services.

use machine_core::{DriverError, ErrorKind};

/// The domain of a partition, by how its regions' names begin.
const PARTITIONS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
];

/// The address of a service in a region, e.g. `https://ec2.eu-west-1.amazonaws.com`.
pub(super) fn of(service: &str, region: &str) -> String {
    let partition = PARTITIONS.iter().find(|(start, _)| region.starts_with(start));
    let domain = partition.map_or("amazonaws.com", |(_, domain)| domain);
    format!("https://{service}.{region}.{domain}")
}

/// The address that the flag names: a host's name, or all of an address.
///
/// # Errors
/// [`ErrorKind::Config`] where it is neither.
pub(super) fn custom(given: &str, insecure: bool) -> Result<String, DriverError> {
    let scheme = if insecure { "http" } else { "https" };
    let text = if given.contains("://") { given.to_owned() } else { format!("{scheme}://{given}") };
    if insecure && text.starts_with("https://") {
        let text = format!("--amazonec2-insecure-transport contradicts --amazonec2-endpoint {given}");
        return Err(DriverError::new(ErrorKind::Config, text));
    }
    crate::cloud::endpoint("amazonec2-endpoint", &text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(of("ec2", "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com");
        assert_eq!(of("ec2", "cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
        assert_eq!(of("sts", "us-gov-west-1"), "https://sts.us-gov-west-1.amazonaws.com");
        assert_eq!(custom("127.0.0.1:5000", true).unwrap(), "http://127.0.0.1:5000");
        assert_eq!(custom("ec2.example.com", false).unwrap(), "https://ec2.example.com");
        assert_eq!(custom("http://127.0.0.1:5000/", false).unwrap(), "http://127.0.0.1:5000");
        assert!(custom("https://x.example", true).is_err());
        assert!(custom("a b", false).is_err());
    }
}
