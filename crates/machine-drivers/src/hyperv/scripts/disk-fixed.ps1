# Operation: disk-fixed
# Makes a disk whose bytes lie in the file as they are, so that its beginning can be written to.
Hyper-V\New-VHD -Path $env:MACHINE_HYPERV_FIXED -SizeBytes ([long]$env:MACHINE_HYPERV_DISK_BYTES) -Fixed | Out-Null
Write-Answer @{ done = $true }
