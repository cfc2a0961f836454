# Operation: configure
# Gives a machine that is off its disks and settings. Can be done again.
$machine = Get-Target
if ($env:MACHINE_HYPERV_STATIC_MEMORY -eq 'yes') {
    Hyper-V\Set-VMMemory -VM $machine -DynamicMemoryEnabled $false
}
Hyper-V\Set-VMProcessor -VM $machine -Count ([int]$env:MACHINE_HYPERV_CPUS)
# Windows 10 and later take a checkpoint at every start unless told otherwise; disks would grow chains.
if ($machine.PSObject.Properties['AutomaticCheckpointsEnabled']) {
    Hyper-V\Set-VM -VM $machine -AutomaticCheckpointsEnabled $false
}
# With memory, where the machine runs.
if ($machine.PSObject.Properties['CheckpointType']) {
    Hyper-V\Set-VM -VM $machine -CheckpointType Standard
}
if ($env:MACHINE_HYPERV_MAC) {
    Hyper-V\Set-VMNetworkAdapter -VM $machine -StaticMacAddress $env:MACHINE_HYPERV_MAC
}
if ([int]$env:MACHINE_HYPERV_VLAN -gt 0) {
    Hyper-V\Set-VMNetworkAdapterVlan -VM $machine -Access -VlanId ([int]$env:MACHINE_HYPERV_VLAN)
}
$disk = $env:MACHINE_HYPERV_DISK
if (@(Hyper-V\Get-VMHardDiskDrive -VM $machine).Count -eq 0) {
    # What qemu-img writes is a sparse file, which Hyper-V refuses (0xC03A001A).
    if (Get-Command fsutil.exe -ErrorAction SilentlyContinue) {
        & fsutil.exe sparse setflag $disk 0 | Out-Null
    }
    Hyper-V\Add-VMHardDiskDrive -VM $machine -Path $disk
}
if ($env:MACHINE_HYPERV_DVD) {
    $drives = @(Hyper-V\Get-VMDvdDrive -VM $machine)
    if ($drives.Count -eq 0) {
        Hyper-V\Add-VMDvdDrive -VM $machine -Path $env:MACHINE_HYPERV_DVD
    } else {
        Hyper-V\Set-VMDvdDrive -VMDvdDrive $drives[0] -Path $env:MACHINE_HYPERV_DVD
    }
}
if ($machine.Generation -eq 2) {
    $first = @(Hyper-V\Get-VMHardDiskDrive -VM $machine)[0]
    if ($env:MACHINE_HYPERV_SECURE_BOOT -eq 'yes') {
        # The one whose keys the shims of distributions are signed with.
        Hyper-V\Set-VMFirmware -VM $machine -EnableSecureBoot On -SecureBootTemplate MicrosoftUEFICertificateAuthority -FirstBootDevice $first
    } else {
        Hyper-V\Set-VMFirmware -VM $machine -EnableSecureBoot Off -FirstBootDevice $first
    }
}
Write-Answer @{ done = $true }
