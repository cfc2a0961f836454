# Operation: remove
# Forgets a machine that is off, with its checkpoints. Its disks stay.
$machine = Get-Target
Hyper-V\Remove-VM -VM $machine -Force
Write-Answer @{ done = $true }
