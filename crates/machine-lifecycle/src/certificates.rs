//! The CA, the client's certificate and the engines' certificates: when they are made, renewed and copied.

use std::path::{Path, PathBuf};

use machine_core::{Event, Machine, Reporter};
use machine_provision::Certificates;
use machine_store::{MachineLock, Mode, write_file};
use machine_tls::{Authority, CertificateInfo, KeyAlgorithm, TlsError};
use time::OffsetDateTime;

use crate::power::line;
use crate::{Error, Lifecycle};

/// A CA or client certificate with fewer days than this is renewed when certificates are asked for anew.
const RENEW_DAYS: i64 = 30;

/// What stands in the certificate folder.
struct Shared {
    ca: Option<Authority>,
    client_is_good: bool,
}

impl Lifecycle {
    /// Makes sure that there are a CA and a client certificate, that they are valid, and that they fit each other.
    /// Made under the store's lock, so that many processes at once make one CA.
    pub(crate) async fn ensure_certificates(
        &self,
        algorithm: KeyAlgorithm,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        if self.shared_certificates()?.is_good(0) {
            return Ok(());
        }
        self.store.create_layout()?;
        let _lock = self.lock_certificates(report).await?;
        // Somebody else may have made them while this process waited.
        let shared = self.shared_certificates()?;
        // A CA from the future is no reason to make another unasked: it is this clock that may be wrong.
        if let Some(Err(error @ TlsError::NotYetValid { .. })) =
            shared.ca.as_ref().map(|ca| ca.check_validity(OffsetDateTime::now_utc()))
        {
            return Err(failed(self.settings.cert_paths.ca_cert.display().to_string())(error));
        }
        self.make_certificates(shared, algorithm, 0, report)
    }

    /// Makes a new client certificate, and renews the CA (with its key kept) if it ends soon. Whether the CA is new.
    pub(crate) async fn renew_client(
        &self,
        algorithm: KeyAlgorithm,
        report: &dyn Reporter,
    ) -> Result<bool, Error> {
        self.store.create_layout()?;
        let _lock = self.lock_certificates(report).await?;
        let path = &self.settings.cert_paths.ca_cert;
        let before = read_optional(path)?;
        let shared = Shared { client_is_good: false, ..self.shared_certificates()? };
        self.make_certificates(shared, algorithm, RENEW_DAYS, report)?;
        Ok(before != read_optional(path)?)
    }

    fn make_certificates(
        &self,
        shared: Shared,
        algorithm: KeyAlgorithm,
        days: i64,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let paths = &self.settings.cert_paths;
        if shared.is_good(days) {
            return Ok(());
        }
        let user = &self.settings.user;
        let ca = match shared.ca {
            Some(ca) if lasts(ca.certificate_pem(), days) => ca,
            Some(old) => {
                line(report, "CA certificate is outdated and needs to be regenerated");
                let ca = old.renew().map_err(failed("renewing the CA"))?;
                self.write(&paths.ca_cert, ca.certificate_pem().as_bytes(), Mode::Public)?;
                ca
            }
            None => {
                line(report, format!("Creating CA: {}", paths.ca_cert.display()));
                let ca = Authority::generate(algorithm, user).map_err(failed("making a CA"))?;
                // The key first: a certificate without its key would look like a CA that somebody took away.
                self.write(&paths.ca_key, ca.key_pem().expose().as_bytes(), Mode::Private)?;
                self.write(&paths.ca_cert, ca.certificate_pem().as_bytes(), Mode::Public)?;
                ca
            }
        };
        if !shared.client_is_good || !client_fits(&paths.client_cert, &paths.client_key, ca.certificate_pem())
        {
            line(report, format!("Creating client certificate: {}", paths.client_cert.display()));
            let client = ca
                .issue_client(algorithm, &format!("{user}.<bootstrap>"))
                .map_err(failed("making the client certificate"))?;
            self.write(&paths.client_key, client.key_pem.expose().as_bytes(), Mode::Private)?;
            self.write(&paths.client_cert, client.certificate_pem.as_bytes(), Mode::Public)?;
        }
        Ok(())
    }

    fn shared_certificates(&self) -> Result<Shared, Error> {
        let paths = &self.settings.cert_paths;
        let (cert, key) = (read_optional(&paths.ca_cert)?, read_optional(&paths.ca_key)?);
        let ca = match (cert, key) {
            // Without its certificate a key is of no use: a crash between the two writes leaves that.
            (None, _) => None,
            (Some(cert), Some(key)) => {
                let what = format!("{} and {}", paths.ca_cert.display(), paths.ca_key.display());
                Some(Authority::from_pem(&cert, &key).map_err(failed(what))?)
            }
            (Some(_), None) => {
                let (cert, key) = (paths.ca_cert.clone(), paths.ca_key.clone());
                return Err(Error::CaKeyMissing { cert, key });
            }
        };
        let client_is_good = ca
            .as_ref()
            .is_some_and(|ca| client_fits(&paths.client_cert, &paths.client_key, ca.certificate_pem()));
        Ok(Shared { ca, client_is_good })
    }

    /// Copies the CA and client certificate into the machine's folder and makes the engine's certificate, if the one
    /// there does not fit: other names, another CA, soon to end, or `anew`.
    pub(crate) fn machine_certificates(
        &self,
        machine: &Machine,
        lock: &MachineLock,
        algorithm: KeyAlgorithm,
        anew: bool,
    ) -> Result<Certificates, Error> {
        let paths = &self.settings.cert_paths;
        let dir = lock.dir();
        let ca_pem = read(&paths.ca_cert)?;
        self.copy(&paths.client_key, &dir.join("key.pem"), Mode::Private)?;
        self.copy(&paths.client_cert, &dir.join("cert.pem"), Mode::Public)?;
        self.copy(&paths.ca_cert, &dir.join("ca.pem"), Mode::Public)?;
        let auth = &machine.host_options.auth_options;
        let (cert_path, key_path) =
            (PathBuf::from(&auth.server_cert_path), PathBuf::from(&auth.server_key_path));
        let names = self.server_names(machine)?;
        let usable = |cert: &str| server_fits(cert, &ca_pem, &names);
        let (cert_pem, key_pem) = match (read_optional(&cert_path)?, read_optional(&key_path)?) {
            // A process that was killed between the two files leaves a pair that does not fit.
            (Some(cert), Some(key)) if !anew && usable(&cert) && machine_tls::key_fits(&cert, &key) => {
                (cert, key)
            }
            _ => {
                let ca = Authority::from_pem(&ca_pem, &read(&paths.ca_key)?)
                    .map_err(failed(paths.ca_cert.display().to_string()))?;
                let organization = format!("{}.{}", self.settings.user, machine.name);
                let issued = if machine.host_options.swarm_options.master {
                    ca.issue_swarm_master(algorithm, &organization, &names)
                } else {
                    ca.issue_server(algorithm, &organization, &names)
                };
                let server = issued.map_err(failed("making the engine's certificate"))?;
                self.write(&key_path, server.key_pem.expose().as_bytes(), Mode::Private)?;
                self.write(&cert_path, server.certificate_pem.as_bytes(), Mode::Public)?;
                (server.certificate_pem.clone(), server.key_pem.expose().to_owned())
            }
        };
        Ok(Certificates {
            ca_pem,
            server_cert_pem: cert_pem,
            server_key_pem: machine_core::Secret::new(key_pem),
        })
    }

    /// The names that an engine's certificate must be good for: `--tls-san`, the address, localhost.
    fn server_names(&self, machine: &Machine) -> Result<Vec<String>, Error> {
        let mut names = machine.host_options.auth_options.server_cert_sans.clone().unwrap_or_default();
        let known = self.known(machine)?;
        for name in [known.ip.as_str(), "localhost"] {
            if !name.is_empty() && !names.iter().any(|have| have == name) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Puts the renewed CA into the folders of all machines that have a copy of it, so that clients that use them
    /// through `DOCKER_CERT_PATH` go on. A machine where that fails is told of and does not stop the others.
    /// The names of those that have it now.
    pub(crate) async fn redistribute(&self, report: &dyn Reporter) -> Result<Vec<String>, Error> {
        let new = read(&self.settings.cert_paths.ca_cert)?;
        let mut renewed = Vec::new();
        for name in self.store.machine_names()? {
            match self.redistribute_to(&name, &new, report).await {
                Ok(true) => renewed.push(name),
                Ok(false) => {}
                Err(error) => report.report(Event::Warning(format!(
                    "the renewed certificates were not copied to the folder of {name:?}: {error}; \
                     `docker-machine regenerate-certs {name}` does it"
                ))),
            }
        }
        Ok(renewed)
    }

    /// Only a copy of the same CA (its key is the same) is replaced: false where there is none.
    async fn redistribute_to(&self, name: &str, ca: &str, report: &dyn Reporter) -> Result<bool, Error> {
        let paths = &self.settings.cert_paths;
        let dir = self.store.machine_dir(name);
        let is_copy = || -> Result<bool, Error> {
            let there = read_optional(&dir.join("ca.pem"))?;
            Ok(there.is_some_and(|there| machine_tls::have_same_key(&there, ca).unwrap_or(false)))
        };
        // Before the lock, so that nobody waits for machines of other CAs; and after it, because one that was removed
        // in between must not come to be again, as a folder without a record.
        if !is_copy()? {
            return Ok(false);
        }
        let _lock = self.lock(name, report).await?;
        if !is_copy()? {
            return Ok(false);
        }
        self.copy(&paths.client_key, &dir.join("key.pem"), Mode::Private)?;
        self.copy(&paths.client_cert, &dir.join("cert.pem"), Mode::Public)?;
        self.copy(&paths.ca_cert, &dir.join("ca.pem"), Mode::Public)?;
        Ok(true)
    }

    fn copy(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), Error> {
        let content = read(from)?;
        if read_optional(to)?.as_deref() == Some(content.as_str()) {
            return Ok(());
        }
        self.write(to, content.as_bytes(), mode)
    }

    fn write(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::CertificateFile { path: folder.to_owned(), source })?;
        }
        Ok(write_file(path, content, mode)?)
    }
}

impl Shared {
    fn is_good(&self, days: i64) -> bool {
        self.client_is_good && self.ca.as_ref().is_some_and(|ca| lasts(ca.certificate_pem(), days))
    }
}

/// Whether a certificate is valid now, and for so many days more.
fn lasts(pem: &str, days: i64) -> bool {
    let now = OffsetDateTime::now_utc();
    CertificateInfo::from_pem(pem).is_ok_and(|info| info.is_valid_at(now) && info.days_left(now) >= days)
}

/// Whether the client's certificate and key are there, fit each other, are valid, and the CA made them.
fn client_fits(cert: &Path, key: &Path, ca_pem: &str) -> bool {
    let (Ok(Some(cert)), Ok(Some(key))) = (read_optional(cert), read_optional(key)) else { return false };
    lasts(&cert, 0)
        && CertificateInfo::from_pem(&cert).is_ok_and(|info| info.is_signed_by(ca_pem))
        && machine_tls::key_fits(&cert, &key)
}

fn server_fits(cert: &str, ca_pem: &str, names: &[String]) -> bool {
    CertificateInfo::from_pem(cert).is_ok_and(|info| {
        info.is_signed_by(ca_pem)
            && lasts(cert, RENEW_DAYS)
            && names.iter().all(|name| info.names.contains(name))
    })
}

fn failed(what: impl Into<String>) -> impl FnOnce(machine_tls::TlsError) -> Error {
    let what = what.into();
    move |source| Error::Certificates { what, source: Box::new(source) }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::CertificateFile { path: path.to_owned(), source })
}

fn read_optional(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::CertificateFile { path: path.to_owned(), source }),
    }
}
