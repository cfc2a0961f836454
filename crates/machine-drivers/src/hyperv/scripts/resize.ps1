# Operation: resize
# Other sizes for a machine that is off.
$machine = Get-Target
if ($env:MACHINE_HYPERV_CPUS) {
    Hyper-V\Set-VMProcessor -VM $machine -Count ([int]$env:MACHINE_HYPERV_CPUS)
}
if ($env:MACHINE_HYPERV_MEMORY_BYTES) {
    Hyper-V\Set-VMMemory -VM $machine -StartupBytes ([long]$env:MACHINE_HYPERV_MEMORY_BYTES)
}
if ($env:MACHINE_HYPERV_DISK_BYTES) {
    $disk = @(Hyper-V\Get-VMHardDiskDrive -VM $machine)[0]
    Hyper-V\Resize-VHD -Path $disk.Path -SizeBytes ([long]$env:MACHINE_HYPERV_DISK_BYTES)
}
Write-Answer @{ done = $true }
