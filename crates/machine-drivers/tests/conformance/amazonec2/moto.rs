//! moto, an imitation of Amazon's services by other people, with all its checks on: signatures, permissions, types,
//! images, keys. `xtask setup` installs it. And a front before it that does what EC2 does and moto leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_testkit::double::{Provider, Reply, Request};
use machine_testkit::skip;

/// The region of all tests.
pub const REGION: &str = "us-east-1";
/// What the user of the tests may do.
const MAY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","ssm:GetParameter","sts:AssumeRole"],"Resource":"*"}]}"#;
/// How many looks for a new instance find nothing.
const UNSEEN: usize = 1;

/// A key of a user that moto knows.
#[derive(Clone, Debug)]
pub struct AccessKey {
    pub id: String,
    pub secret: String,
}

/// A moto of this process. It ends with it, however that ends: what watches it reads from a pipe that closes then.
pub struct Moto {
    watch: Child,
    port: u16,
}

/// Where `xtask setup` puts it.
fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("target"));
    let mut targets = target.into_iter().chain(above).map(|target| target.join("peers/moto/bin/moto_server"));
    targets.find(|program| program.is_file()).unwrap_or_default()
}

impl Moto {
    /// Starts it on a free port; `None` where it is not installed.
    pub fn start() -> Option<Self> {
        let program = program();
        if !program.is_file() {
            let _ = skip::because("moto is not installed; `cargo xtask setup` does it");
            return None;
        }
        // The port is free now; nobody else on this computer is likely to take it within the second.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let watch = Command::new("sh")
            .args(["-c", "\"$@\" & read -r _; kill $!", "sh"])
            .arg(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "1")
            .env("MOTO_ENABLE_KEYPAIR_VALIDATION", "1")
            .env("MOTO_ENABLE_AMI_VALIDATION", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self { watch, port };
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = moto.watch.try_wait().unwrap();
            assert!(ended.is_none(), "what watches moto ended: {ended:?}");
            assert!(Instant::now() < deadline, "moto did not listen within 120 s");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    /// A user with a policy, and a key of it.
    pub fn user(&self, name: &str, policy: &str) -> AccessKey {
        let made = self.admin(|admin| {
            admin.call("iam", &[("Action", "CreateUser"), ("UserName", name)]);
            let policy = [("PolicyName", "may"), ("PolicyDocument", policy)];
            admin.call("iam", &[&[("Action", "PutUserPolicy"), ("UserName", name)], &policy[..]].concat());
            admin.call("iam", &[("Action", "CreateAccessKey"), ("UserName", name)])
        });
        AccessKey { id: element(&made, "AccessKeyId"), secret: element(&made, "SecretAccessKey") }
    }

    /// The user of the tests.
    pub fn owner(&self) -> AccessKey {
        self.user("docker-machine", MAY)
    }

    /// Does something as nobody in particular: moto lets so many requests pass unsigned as it is told.
    pub fn admin<T>(&self, act: impl FnOnce(&Admin) -> T) -> T {
        self.let_pass("100000");
        let done = act(&Admin { port: self.port });
        self.let_pass("0");
        done
    }

    fn let_pass(&self, count: &str) {
        let headers = [("content-type".to_owned(), "text/plain".to_owned())].into();
        let request = Request {
            method: "POST".into(),
            path: "/moto-api/reset-auth".into(),
            headers,
            body: count.as_bytes().to_vec(),
            ..Request::default()
        };
        assert_eq!(forward(self.port, &request).status, 200, "moto's own API");
    }
}

/// Whoever may do all.
pub struct Admin {
    port: u16,
}

impl Admin {
    /// A call of the Query API; the answer's XML.
    pub fn call(&self, service: &str, form: &[(&str, &str)]) -> String {
        let version = if service == "iam" { "2010-05-08" } else { "2016-11-15" };
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=x"
        );
        let pairs = form.iter().copied().chain([("Version", version)]);
        let body: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let request = Request {
            method: "POST".into(),
            path: "/".into(),
            headers: [
                ("authorization".to_owned(), scope),
                ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ]
            .into(),
            body: body.join("&").into_bytes(),
            ..Request::default()
        };
        let reply = forward(self.port, &request);
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, 200, "{form:?}: {text}");
        text
    }

    /// A list of EC2.
    pub fn list(&self, action: &str, further: &[(&str, &str)]) -> String {
        self.call("ec2", &[&[("Action", action)], further].concat())
    }

    /// Ids of all instances that are not terminated.
    pub fn instances(&self) -> Vec<String> {
        let text = self.list("DescribeInstances", &[]);
        let document = roxmltree::Document::parse(&text).unwrap();
        let named = |node: &roxmltree::Node<'_, '_>, name: &str| node.tag_name().name() == name;
        let items = document.descendants().filter(|node| {
            named(node, "item") && node.parent().is_some_and(|set| named(&set, "instancesSet"))
        });
        let alive = items.filter(|item| {
            let state = item.children().find(|child| named(child, "instanceState"));
            let name = state.and_then(|state| state.children().find(|child| named(child, "name")));
            !["shutting-down", "terminated"].contains(&name.and_then(|name| name.text()).unwrap_or_default())
        });
        let id = |item: roxmltree::Node<'_, '_>| {
            item.children()
                .find(|child| named(child, "instanceId"))
                .and_then(|id| id.text())
                .map(str::to_owned)
        };
        alive.filter_map(id).collect()
    }

    /// How many things there are that somebody made.
    pub fn resources(&self) -> usize {
        let count = |action: &str, name: &str| elements(&self.list(action, &[]), name).len();
        let groups = elements(&self.list("DescribeSecurityGroups", &[]), "groupName");
        self.instances().len()
            + count("DescribeKeyPairs", "keyName")
            + groups.iter().filter(|name| *name != "default").count()
            + count("DescribeVolumes", "size")
    }
}

/// The text of the first element of this name.
pub fn element(xml: &str, name: &str) -> String {
    elements(xml, name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {xml}"))
}

/// The texts of all elements of this name.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    let found = document.descendants().filter(|node| node.is_element() && node.tag_name().name() == name);
    found.filter_map(|node| node.text().map(str::to_owned)).collect()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// Sends a request to a port of this computer as it came in.
fn forward(port: u16, request: &Request) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("moto listens");
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let mut head = format!("{} {}{query} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in
        request.headers.iter().filter(|(name, _)| !["content-length", "connection"].contains(&name.as_str()))
    {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.headers.contains_key("host") {
        head.push_str(&format!("host: 127.0.0.1:{port}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head of an answer");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let kind = head
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-type")));
    Reply { status, body: answer[end + 4..].to_vec(), ..Reply::default() }
        .header("content-type", kind.map_or("text/xml", |(_, value)| value))
}

/// An error as EC2 says it.
pub fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>59dbff89-35bd-4eac-99ed-be587EXAMPLE</RequestID></Response>"
    );
    Reply::text(status, "text/xml;charset=UTF-8", &text)
}

/// An instance that EC2 may not know yet.
struct Unseen {
    /// The machine's name, by which it is looked for.
    machine: String,
    /// How many looks still find nothing.
    looks: usize,
    /// Until when none finds it.
    until: Instant,
}

impl Unseen {
    /// Whether this look finds nothing.
    fn hides(&mut self) -> bool {
        if self.looks > 0 {
            self.looks -= 1;
            return true;
        }
        Instant::now() < self.until
    }
}

/// What EC2 does and moto leaves out: client tokens, instances that are not known at once, groups that are in use or
/// unknown, instances that have ended and are ended again. It passes on what is signed for it, so that moto checks the signatures.
pub struct Front {
    pub moto: Moto,
    /// The image that the Systems Manager names.
    pub image: String,
    /// Client tokens: the request and its reply.
    tokens: BTreeMap<String, (BTreeMap<String, String>, Reply)>,
    /// Instances with their groups, while they live.
    alive: BTreeMap<String, BTreeSet<String>>,
    /// Instances, and how they are hidden.
    unseen: BTreeMap<String, Unseen>,
    /// Groups by id: their name, and since when they are known.
    groups: BTreeMap<String, (String, Instant)>,
    /// How long a new group is not known everywhere.
    pub late_groups: Duration,
    /// The address of all instances, public and private, where a test has a host for them.
    pub address: Option<String>,
    /// The account that everybody's credentials open, where it is another one than moto's: there is nothing in it.
    pub elsewhere: Option<&'static str>,
    /// Hears what was done, with the request's parameters.
    pub done: Option<Heard>,
}

/// An answer with this address in the place of every one that moto thought up.
pub fn with_address(mut text: String, address: &str) -> String {
    for name in ["ipAddress", "privateIpAddress", "publicIp"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces: Vec<&str> = text.split(&open).collect();
        let mut new = pieces[0].to_owned();
        for piece in &pieces[1..] {
            let rest = piece.find(&close).map_or(*piece, |end| &piece[end..]);
            new.push_str(&format!("{open}{address}{rest}"));
        }
        text = new;
    }
    text
}

/// Hears of a request that was carried out.
type Heard = Box<dyn FnMut(&BTreeMap<String, String>) + Send>;

impl Front {
    pub fn new(moto: Moto) -> Self {
        let images = moto.admin(|admin| {
            admin.list("DescribeImages", &[("Filter.1.Name", "architecture"), ("Filter.1.Value.1", "x86_64")])
        });
        let image = element(&images, "imageId");
        Self {
            moto,
            image,
            tokens: BTreeMap::new(),
            alive: BTreeMap::new(),
            unseen: BTreeMap::new(),
            groups: BTreeMap::new(),
            late_groups: Duration::ZERO,
            address: None,
            elsewhere: None,
            done: None,
        }
    }

    /// What an account answers in which there is nothing.
    fn empty_account(account: &str, form: &BTreeMap<String, String>) -> Reply {
        let action = form.get("Action").map_or("", String::as_str);
        match action {
            "GetCallerIdentity" => Reply::text(
                200,
                "text/xml",
                &format!(
                    "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/me</Arn><UserId>AIDA</UserId><Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                ),
            ),
            "TerminateInstances" | "StopInstances" | "StartInstances" => {
                refusal(400, "InvalidInstanceID.NotFound", "The instance ID does not exist")
            }
            other => Reply::text(200, "text/xml", &format!("<{other}Response/>")),
        }
    }

    /// With the host's address in the place of what moto thinks up.
    fn at_home(&self, mut reply: Reply) -> Reply {
        let Some(address) = &self.address else { return reply };
        reply.body = with_address(String::from_utf8(reply.body).unwrap(), address).into_bytes();
        reply
    }

    fn run_instances(&mut self, request: &Request, form: BTreeMap<String, String>) -> Reply {
        let groups: BTreeSet<String> = form
            .iter()
            .filter(|(key, _)| key.starts_with("NetworkInterface.1.SecurityGroupId."))
            .map(|(_, value)| value.clone())
            .collect();
        if let Some(unknown) = groups.iter().find(|id| !self.knows(id)) {
            return refusal(
                400,
                "InvalidGroup.NotFound",
                &format!("The security group '{unknown}' does not exist"),
            );
        }
        let token = form.get("ClientToken").cloned().unwrap_or_default();
        if let Some((first, reply)) = self.tokens.get(&token) {
            if *first != form {
                let message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
                return refusal(400, "IdempotentParameterMismatch", message);
            }
            let id = element(&String::from_utf8_lossy(&reply.body), "instanceId");
            if !self.alive.contains_key(&id) {
                let message =
                    "The client token of this request was used for an instance that has been terminated.";
                return refusal(400, "IdempotentInstanceTerminated", message);
            }
            return reply.clone();
        }
        let reply = forward(self.moto.port, request);
        if reply.status == 200 {
            let id = element(&String::from_utf8_lossy(&reply.body), "instanceId");
            self.alive.insert(id.clone(), groups);
            let tag = form.iter().find(|(_, value)| *value == "docker-machine-name");
            let machine = tag.and_then(|(key, _)| form.get(&key.replace(".Key", ".Value")));
            let machine = machine.cloned().unwrap_or_default();
            self.unseen.insert(id, Unseen { machine, looks: UNSEEN, until: Instant::now() });
            if !token.is_empty() {
                self.tokens.insert(token, (form, reply.clone()));
            }
        }
        reply
    }

    fn knows(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(|(_, since)| Instant::now() >= *since)
    }

    fn describe_groups(&self, request: &Request, form: &BTreeMap<String, String>) -> Reply {
        let late = |id: &String, name: &String| {
            !self.knows(id) && form.values().any(|value| value == id || value == name)
        };
        if self.groups.iter().any(|(id, (name, _))| late(id, name)) {
            let nothing = "<DescribeSecurityGroupsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>x</requestId><securityGroupInfo/></DescribeSecurityGroupsResponse>";
            return Reply::text(200, "text/xml", nothing);
        }
        forward(self.moto.port, request)
    }

    fn describe_instances(&mut self, request: &Request, form: &BTreeMap<String, String>) -> Reply {
        let asked =
            |id: &String, one: &Unseen| form.values().any(|value| value == id || *value == one.machine);
        if self.unseen.iter_mut().any(|(id, one)| asked(id, one) && one.hides()) {
            let nothing = "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>x</requestId><reservationSet/></DescribeInstancesResponse>";
            return Reply::text(200, "text/xml", nothing);
        }
        forward(self.moto.port, request)
    }

    fn terminate(&mut self, request: &Request, id: &str) -> Reply {
        if self.unseen.get_mut(id).is_some_and(Unseen::hides) {
            let message = format!("The instance ID '{id}' does not exist");
            return refusal(400, "InvalidInstanceID.NotFound", &message);
        }
        match self.alive.remove(id) {
            Some(_) => forward(self.moto.port, request),
            // EC2 does not mind; moto does.
            None => Reply::text(200, "text/xml", "<TerminateInstancesResponse/>"),
        }
    }

    /// For so long nobody finds the instances.
    pub fn hide_all(&mut self, time: Duration) {
        for one in self.unseen.values_mut() {
            one.until = Instant::now() + time;
        }
    }

    /// All hosts are gone, behind everybody's back.
    pub fn end_all(&mut self) {
        self.moto.admin(|admin| {
            for id in admin.instances() {
                admin.call("ec2", &[("Action", "TerminateInstances"), ("InstanceId.1", &id)]);
            }
        });
        self.alive.clear();
    }
}

impl Provider for Front {
    fn answer(&mut self, request: &Request) -> Reply {
        let reply = self.act(request);
        if reply.status == 200
            && let Some(done) = &mut self.done
        {
            done(&request.form());
        }
        self.at_home(reply)
    }
}

impl Front {
    fn act(&mut self, request: &Request) -> Reply {
        if request.header("x-amz-target") == "AmazonSSM.GetParameter" {
            return Reply::json(200, &serde_json::json!({ "Parameter": { "Value": self.image } }));
        }
        let form = request.form();
        if let Some(account) = self.elsewhere {
            return Self::empty_account(account, &form);
        }
        let one = |key: &str| form.get(key).cloned().unwrap_or_default();
        match form.get("Action").map(String::as_str) {
            Some("RunInstances") => self.run_instances(request, form.clone()),
            Some("DescribeInstances") => self.describe_instances(request, &form),
            Some("CreateSecurityGroup") => {
                let reply = forward(self.moto.port, request);
                if reply.status == 200 {
                    let id = element(&String::from_utf8_lossy(&reply.body), "groupId");
                    self.groups.insert(id, (one("GroupName"), Instant::now() + self.late_groups));
                }
                reply
            }
            Some("DescribeSecurityGroups") => self.describe_groups(request, &form),
            Some("AuthorizeSecurityGroupIngress") if !self.knows(&one("GroupId")) => {
                let message = format!("The security group '{}' does not exist", one("GroupId"));
                refusal(400, "InvalidGroup.NotFound", &message)
            }
            Some("DeleteSecurityGroup") => {
                let id = one("GroupId");
                if self.alive.values().any(|groups| groups.contains(&id)) {
                    return refusal(
                        400,
                        "DependencyViolation",
                        &format!("resource {id} has a dependent object"),
                    );
                }
                self.groups.remove(&id);
                forward(self.moto.port, request)
            }
            Some("TerminateInstances") => self.terminate(request, &one("InstanceId.1")),
            Some("StartInstances") if !self.alive.contains_key(&one("InstanceId.1")) => {
                let message = format!(
                    "The instance '{}' is not in a state from which it can be started.",
                    one("InstanceId.1")
                );
                refusal(400, "IncorrectInstanceState", &message)
            }
            _ => forward(self.moto.port, request),
        }
    }
}
