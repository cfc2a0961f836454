# Operation: new
# Makes a virtual machine without disks.
$given = @{
    Name               = $env:MACHINE_HYPERV_NAME
    Path               = $env:MACHINE_HYPERV_FOLDER
    Generation         = [int]$env:MACHINE_HYPERV_GENERATION
    MemoryStartupBytes = [long]$env:MACHINE_HYPERV_MEMORY_BYTES
    SwitchName         = $env:MACHINE_HYPERV_SWITCH
    NoVHD              = $true
}
$machine = Hyper-V\New-VM @given
Write-Answer @{ id = [string]$machine.Id }
