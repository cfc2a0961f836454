# Operation: checkpoints
$checkpoints = @(Hyper-V\Get-VMSnapshot -VM (Get-Target) | ForEach-Object {
    @{
        id    = [string]$_.Id
        name  = [string]$_.Name
        taken = ([DateTimeOffset]$_.CreationTime).ToUnixTimeSeconds()
        state = [string]$_.State
        size  = [long]$_.SizeOfSystemFiles
    }
})
Write-Answer @{ checkpoints = $checkpoints }
