# What all scripts have in common. Values come in environment variables, never in the text: nothing that a user gives is
# ever read as PowerShell. No double quotes in any script, so that the text passes as one argument unchanged.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$WarningPreference = 'SilentlyContinue'
$ConfirmPreference = 'None'

# One line of JSON in ASCII: whatever the console's encoding is, it arrives as it was.
function Write-Answer($answer) {
    $json = ConvertTo-Json -InputObject $answer -Compress -Depth 6
    $ascii = [regex]::Replace($json, '[^\x20-\x7e]', { param($found) '\u{0:x4}' -f [int][char]$found.Value })
    [Console]::Out.WriteLine($ascii)
}

# The part of the error's id before the comma does not depend on the system's language.
function Write-Failure($failure) {
    Write-Answer @{
        error = @{
            message  = [string]$failure.Exception.Message
            id       = [string]$failure.FullyQualifiedErrorId
            category = [string]$failure.CategoryInfo.Category
        }
    }
}

function Get-Target {
    Hyper-V\Get-VM -Id ([guid]$env:MACHINE_HYPERV_ID)
}
