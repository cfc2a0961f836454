# Operation: disk-copy
# Writes a disk, with all that its checkpoints have, into a new one that grows as it is used.
$given = @{
    Path            = $env:MACHINE_HYPERV_SOURCE
    DestinationPath = $env:MACHINE_HYPERV_DISK
    VHDType         = 'Dynamic'
}
Hyper-V\Convert-VHD @given
if ($env:MACHINE_HYPERV_DISK_BYTES) {
    Hyper-V\Resize-VHD -Path $env:MACHINE_HYPERV_DISK -SizeBytes ([long]$env:MACHINE_HYPERV_DISK_BYTES)
}
Write-Answer @{ done = $true }
