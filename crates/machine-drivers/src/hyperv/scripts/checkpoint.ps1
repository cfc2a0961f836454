# Operation: checkpoint
# Takes, restores or removes a checkpoint.
$machine = Get-Target
if ($env:MACHINE_HYPERV_DO -eq 'take') {
    Hyper-V\Checkpoint-VM -VM $machine -SnapshotName $env:MACHINE_HYPERV_CHECKPOINT
} else {
    $id = [guid]$env:MACHINE_HYPERV_CHECKPOINT_ID
    $checkpoint = Hyper-V\Get-VMSnapshot -VM $machine | Where-Object { $_.Id -eq $id }
    switch ($env:MACHINE_HYPERV_DO) {
        'restore' { Hyper-V\Restore-VMSnapshot -VMSnapshot $checkpoint -Confirm:$false }
        'remove' { Hyper-V\Remove-VMSnapshot -VMSnapshot $checkpoint -Confirm:$false }
    }
}
Write-Answer @{ done = $true }
