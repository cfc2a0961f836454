//! Certificates of the shape that the reference program makes (`O` alone as subject, RSA 2048, PKCS#1 keys, key usages
//! and extended key usages as its Go code sets them), made by openssl, and broken ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use machine_engine::{Identity, TlsConfig};
use machine_testkit::skip;
use tempfile::TempDir;

/// A folder of certificates: NAME.pem with KEY-key.pem.
pub struct Pki {
    dir: TempDir,
}

const FROM: &str = "20200101000000Z";
const UNTIL: &str = "20491231235959Z";
const LONG_AGO: &str = "20200601000000Z";

const CA: &str = "basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign
";
const SERVER: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement
extendedKeyUsage=serverAuth
";
const CLIENT: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth
";
const HERE: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost\n";

/// The certificates, made once for a process; `None` where there is no openssl.
pub fn pki() -> Option<&'static Pki> {
    static PKI: OnceLock<Option<Pki>> = OnceLock::new();
    PKI.get_or_init(|| skip::require(&["openssl"]).then(Pki::new)).as_ref()
}

impl Pki {
    fn new() -> Self {
        let pki = Self { dir: TempDir::new().unwrap() };
        for key in ["ca", "other", "server", "client"] {
            pki.key(key);
        }
        let server = |san: &str| format!("{SERVER}{san}");
        // name, its key, subject, signer (certificate, key), from, until, extensions
        pki.sign("ca", "ca", "u", None, FROM, UNTIL, CA);
        pki.sign("expired-ca", "ca", "u", None, FROM, LONG_AGO, CA);
        pki.sign("same-name-ca", "other", "u", None, FROM, UNTIL, CA);
        pki.sign("stranger-ca", "other", "stranger", None, FROM, UNTIL, CA);
        let ca = Some(("ca", "ca"));
        pki.sign("server", "server", "u.m", ca, FROM, UNTIL, &server(HERE));
        pki.sign("expired", "server", "u.m", ca, FROM, LONG_AGO, &server(HERE));
        pki.sign("future", "server", "u.m", ca, "20480101000000Z", UNTIL, &server(HERE));
        pki.sign(
            "moved",
            "server",
            "u.m",
            ca,
            FROM,
            UNTIL,
            &server("subjectAltName=IP:203.0.113.9,DNS:localhost\n"),
        );
        pki.sign("nameless", "server", "u.m", ca, FROM, UNTIL, &server(""));
        pki.sign("no-server", "server", "u.m", ca, FROM, UNTIL, &format!("{CLIENT}{HERE}"));
        // A Swarm manager's certificate is for both.
        let both = SERVER.replace("serverAuth", "serverAuth,clientAuth");
        pki.sign("manager", "server", "u.m", ca, FROM, UNTIL, &format!("{both}{HERE}"));
        pki.sign("client", "client", "u.<bootstrap>", ca, FROM, UNTIL, CLIENT);
        pki.sign("expired-client", "client", "u.<bootstrap>", ca, FROM, LONG_AGO, CLIENT);
        let stranger = Some(("stranger-ca", "other"));
        pki.sign("stranger-client", "client", "u.<bootstrap>", stranger, FROM, UNTIL, CLIENT);
        pki
    }

    /// The path of a certificate.
    pub fn cert(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.pem"))
    }

    /// The path of a key.
    pub fn key_of(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}-key.pem"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// What a client reads.
    pub fn identity(&self, ca: &str, client: &str) -> Identity {
        let read = |path: PathBuf| fs::read(path).unwrap();
        Identity::new(read(self.cert(ca)), read(self.cert(client)), read(self.key_of("client")))
    }

    /// The same, ready for use.
    pub fn config(&self, ca: &str, client: &str) -> TlsConfig {
        TlsConfig::new(&self.identity(ca, client)).unwrap()
    }

    fn key(&self, name: &str) {
        // -traditional: PKCS#1, as Go's MarshalPKCS1PrivateKey
        openssl(self.dir.path(), &["genrsa", "-traditional", "-out", &format!("{name}-key.pem"), "2048"]);
    }

    #[allow(clippy::too_many_arguments)] // one line a certificate, in columns
    fn sign(
        &self,
        name: &str,
        key: &str,
        subject: &str,
        signer: Option<(&str, &str)>,
        from: &str,
        until: &str,
        extensions: &str,
    ) {
        let dir = self.dir.path();
        fs::write(self.path("ext"), extensions).unwrap();
        fs::write(self.path("index.txt"), "").unwrap();
        fs::write(self.path("ca.cnf"), CONFIG).unwrap();
        let (key_file, request, out) =
            (format!("{key}-key.pem"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            dir,
            &["req", "-new", "-key", &key_file, "-subj", &format!("/O={subject}"), "-out", &request],
        );
        let mut arguments = vec!["ca", "-batch", "-notext", "-config", "ca.cnf", "-extfile", "ext"];
        arguments.extend(["-in", &request, "-out", &out, "-startdate", from, "-enddate", until]);
        let signer = signer.map(|(cert, key)| (format!("{cert}.pem"), format!("{key}-key.pem")));
        match &signer {
            Some((cert, key)) => arguments.extend(["-cert", cert, "-keyfile", key]),
            None => arguments.extend(["-selfsign", "-keyfile", &key_file]),
        }
        openssl(dir, &arguments);
    }
}

const CONFIG: &str = "[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
organizationName = supplied
";

fn openssl(dir: &Path, arguments: &[&str]) {
    let output =
        Command::new("openssl").args(arguments).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
}
