# Operation: power
# Turns a machine on or off. A guest that is asked to shut down answers by its kernel's own driver.
$machine = Get-Target
switch ($env:MACHINE_HYPERV_DO) {
    'start' { Hyper-V\Start-VM -VM $machine }
    'shutdown' { Hyper-V\Stop-VM -VM $machine -Force }
    'turnoff' { Hyper-V\Stop-VM -VM $machine -TurnOff -Force }
    'pause' { Hyper-V\Suspend-VM -VM $machine }
    'resume' { Hyper-V\Resume-VM -VM $machine }
}
Write-Answer @{ done = $true }
