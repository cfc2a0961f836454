# What a cloud needs before anybody can make a server in it: services, users, a flavor, an image, networks.
import sys
import time

import openstack

WHERE = dict(
    auth_url="http://127.0.0.1:5000/v3",
    user_domain_name="Default",
    project_domain_name="Default",
    region_name="RegionOne",
)
SERVICES = [
    ("nova", "compute", "http://127.0.0.1:8774/v2.1"),
    ("glance", "image", "http://127.0.0.1:9292"),
    ("neutron", "network", "http://127.0.0.1:9696"),
    ("placement", "placement", "http://127.0.0.1:8778"),
    ("cinderv3", "volumev3", "http://127.0.0.1:8776/v3/%(project_id)s"),
]


def admin():
    return openstack.connect(username="admin", password="admin", project_name="admin", **WHERE)


def demo():
    return openstack.connect(username="demo", password="demo", project_name="demo", **WHERE)


def catalog():
    identity = admin().identity
    project = identity.create_project(name="service", domain_id="default")
    user = identity.create_user(name="svc", password="svc", domain_id="default")
    service = identity.find_role("service") or identity.create_role(name="service")
    for role in (identity.find_role("admin"), service):
        identity.assign_project_role_to_user(project, user, role)
    for name, kind, url in SERVICES:
        made = identity.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            identity.create_endpoint(service_id=made.id, interface=interface, region_id="RegionOne", url=url)
    project = identity.create_project(name="demo", domain_id="default")
    user = identity.create_user(name="demo", password="demo", domain_id="default")
    identity.assign_project_role_to_user(project, user, identity.find_role("member"))
    reader = identity.create_user(name="reader", password="reader", domain_id="default")
    identity.assign_project_role_to_user(project, reader, identity.find_role("reader"))


def things():
    cloud = admin()
    # cinder's scheduler hears of its disks once a minute.
    for _ in range(300):
        if list(cloud.block_storage.backend_pools()):
            break
        time.sleep(1)
    cloud.compute.create_flavor(name="m1.tiny", ram=512, vcpus=1, disk=1, id="1")
    cloud.image.create_image(
        name="ubuntu", disk_format="raw", container_format="bare", data=b"x" * 1024, visibility="public"
    )
    external = cloud.network.create_network(
        name="ext-net",
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="ext",
    )
    cloud.network.create_subnet(
        network_id=external.id, ip_version=4, cidr="172.24.4.0/24", enable_dhcp=False, name="ext-sub"
    )
    cloud = demo()
    private = cloud.network.create_network(name="priv")
    subnet = cloud.network.create_subnet(network_id=private.id, ip_version=4, cidr="10.9.0.0/24", name="priv-sub")
    router = cloud.network.create_router(name="r", external_gateway_info={"network_id": external.id})
    cloud.network.add_interface_to_router(router, subnet_id=subnet.id)


{"catalog": catalog, "things": things}[sys.argv[1]]()
