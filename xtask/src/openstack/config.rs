//! The configuration of each service: everything on 127.0.0.1 of the namespace, one process each.

/// Files below the chroot's folder of ours, by name.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("keystone.conf", KEYSTONE.to_owned()),
        ("glance.conf", service("glance", "image", GLANCE)),
        ("placement.conf", service("placement", "placement", PLACEMENT)),
        ("nova.conf", service("nova", "compute", NOVA)),
        ("neutron.conf", service("neutron", "network", NEUTRON)),
        ("cinder.conf", service("cinder", "volumev3", CINDER)),
    ]
}

/// How a service logs in at keystone.
const LOGIN: &str = "auth_url=http://127.0.0.1:5000/v3
auth_type=password
project_domain_id=default
user_domain_id=default
project_name=service
username=svc
password=svc
region_name=RegionOne
";

/// `@LOGIN@` is filled in; what every service needs is added. Services usually believe a token for five minutes without
/// asking keystone again; here they always ask, so that a changed password counts at once.
/// By its type a service knows whether an application credential's access rules let somebody in.
fn service(name: &str, kind: &str, text: &str) -> String {
    let own = text.replace("@LOGIN@\n", LOGIN);
    let database = if name == "placement" { "placement_database" } else { "database" };
    format!(
        "{own}[{database}]\nconnection=mysql+pymysql://root:x@127.0.0.1/{name}\n[oslo_concurrency]\nlock_path=/cl/lock\n\
         [keystone_authtoken]\nwww_authenticate_uri=http://127.0.0.1:5000\nservice_token_roles_required=true\n\
         token_cache_time=-1\nservice_type={kind}\n{LOGIN}"
    )
}

const KEYSTONE: &str = "[database]
connection=mysql+pymysql://root:x@127.0.0.1/keystone
[token]
provider=fernet
[fernet_tokens]
key_repository=/cl/fernet
[credential]
key_repository=/cl/cred
[identity]
password_hash_rounds=4
[cache]
enabled=true
backend=dogpile.cache.memory
";

const GLANCE: &str = "[DEFAULT]
bind_host=127.0.0.1
workers=0
enabled_backends=f:file
[glance_store]
default_backend=f
[f]
filesystem_store_datadir=/cl/img
[os_glance_tasks_store]
filesystem_store_datadir=/cl/img/t
[os_glance_staging_store]
filesystem_store_datadir=/cl/img/s
[paste_deploy]
flavor=keystone
config_file=/etc/glance/glance-api-paste.ini
";

const PLACEMENT: &str = "[api]
auth_strategy=keystone
";

const NOVA: &str = "[DEFAULT]
transport_url=rabbit://guest:guest@127.0.0.1:5672/
compute_driver=fake.FakeDriver
state_path=/cl/state
instances_path=/cl/state/instances
osapi_compute_listen=127.0.0.1
osapi_compute_workers=1
enabled_apis=osapi_compute
my_ip=127.0.0.1
use_cow_images=false
[api]
auth_strategy=keystone
[api_database]
connection=mysql+pymysql://root:x@127.0.0.1/nova_api
[glance]
api_servers=http://127.0.0.1:9292
[placement]
@LOGIN@
[neutron]
@LOGIN@
[cinder]
catalog_info=volumev3::publicURL
@LOGIN@
[service_user]
send_service_user_token=true
@LOGIN@
[conductor]
workers=1
[oslo_policy]
enforce_scope=true
enforce_new_defaults=true
[scheduler]
workers=1
discover_hosts_in_cells_interval=5
";

const NEUTRON: &str = "[DEFAULT]
transport_url=rabbit://guest:guest@127.0.0.1:5672/
bind_host=127.0.0.1
core_plugin=ml2
service_plugins=router
api_workers=1
rpc_workers=0
state_path=/cl/state
auth_strategy=keystone
notify_nova_on_port_status_changes=false
notify_nova_on_port_data_changes=false
[nova]
@LOGIN@
[ml2]
type_drivers=local,flat
tenant_network_types=local
mechanism_drivers=machine_null
extension_drivers=port_security
[ml2_type_flat]
flat_networks=*
[securitygroup]
enable_security_group=true
";

const CINDER: &str = "[DEFAULT]
transport_url=rabbit://guest:guest@127.0.0.1:5672/
my_ip=127.0.0.1
osapi_volume_listen=127.0.0.1
osapi_volume_workers=1
state_path=/cl/state
image_conversion_dir=/cl/state/conversion
enabled_backends=null
glance_api_servers=http://127.0.0.1:9292
auth_strategy=keystone
periodic_interval=10
api_paste_config=/etc/cinder/api-paste.ini
[null]
volume_driver=machine_null_volume.Null
volume_backend_name=null
";
