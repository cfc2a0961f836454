//! New certificates for engines, and for the client.

use machine_core::{Event, Reporter};
use machine_store::Operation;
use machine_tls::KeyAlgorithm;

use crate::power::line;
use crate::provision::Work;
use crate::{Error, Lifecycle};

impl Lifecycle {
    /// Makes a new client certificate, and renews the CA where it has ended or will soon: its key stays, so that
    /// engines go on accepting the client, and the client goes on accepting engines. To be done once before
    /// [`Lifecycle::regenerate_server_certs`] of each of the machines `next`.
    ///
    /// # Errors
    /// [`Error::Certificates`] and its neighbours.
    pub async fn regenerate_client_certs(
        &self,
        algorithm: KeyAlgorithm,
        next: &[String],
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        line(report, "Regenerating local certificates");
        let ca_is_new = self.renew_client(algorithm, report).await?;
        let mut elsewhere = self.redistribute(report).await?;
        elsewhere.retain(|name| !next.contains(name));
        if ca_is_new && !elsewhere.is_empty() {
            report.report(Event::Notice(format!(
                "the renewed certificates were copied to the folders of {}; their engines keep the CA certificate \
                 that they have until `docker-machine regenerate-certs {}`",
                elsewhere.join(", "),
                elsewhere.join(" ")
            )));
        }
        Ok(())
    }

    /// Gives a machine's engine a new certificate and restarts it.
    ///
    /// # Errors
    /// [`Error::NoSsh`] for a machine that is only a URL; else what reaching or provisioning says.
    pub async fn regenerate_server_certs(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        self.journaled(name, Operation::RegenerateCerts, "regenerate-certs", Work::Certificates, report).await
    }
}
