# cinder: volumes that are only in its database.
from cinder import interface
from cinder.volume import driver


@interface.volumedriver
class Null(driver.VolumeDriver):
    VERSION = "1.0"

    def _nothing(self, *args, **kwargs):
        pass

    do_setup = check_for_setup_error = create_volume = delete_volume = _nothing
    create_export = ensure_export = remove_export = terminate_connection = copy_image_to_volume = _nothing

    def initialize_connection(self, volume, connector):
        return {"driver_volume_type": "fake", "data": {"volume_id": volume.id}}

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": "null",
            "vendor_name": "none",
            "driver_version": "1.0",
            "storage_protocol": "fake",
            "total_capacity_gb": 1000,
            "free_capacity_gb": 1000,
            "reserved_percentage": 0,
            "QoS_support": False,
        }
